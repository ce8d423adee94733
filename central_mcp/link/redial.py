"""`Redial`: a link that comes back by itself. Owns the backoff and the calls that wait meanwhile."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import structlog

from central_mcp.protocol.frames import Head

from .link import Done, Link, LinkLost, OnChanged, OnNote, ask, control, fail

BACKOFF_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PATIENCE_S = 10.0
"""How long a call without a deadline of its own waits for the router to come back."""

log = structlog.get_logger("link")


class Redial:
    """A `Link` that comes back by itself. Same calls; while the router is away they wait, up to their deadline.

    `start()` in a running loop, `close()` at the end. `on_up(instance)` and `on_lost` tell of each change.
    """

    def __init__(
        self,
        path: Path,
        who: Literal["coordinator", "engine"],
        *,
        on_note: OnNote,
        on_changed: OnChanged,
        on_up: Callable[[str], None] | None = None,
        on_lost: Callable[[LinkLost], None] | None = None,
        queue: int = 10_000,
    ) -> None:
        self._path = path
        self._who = who
        self._on_note = on_note
        self._on_changed = on_changed
        self._on_up = on_up
        self._on_lost = on_lost
        self._queue = queue
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Head, bytes, Done, float, asyncio.TimerHandle]] = {}
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._down: asyncio.Event = asyncio.Event()
        self._up: asyncio.Event = asyncio.Event()
        self._reason = f"not connected to the router at {path} yet"

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._dial_for_ever(), name=f"link to {self._path}")

    @property
    def up(self) -> bool:
        return self._link is not None

    @property
    def instance(self) -> str:
        """The router last spoken to; empty before the first."""
        return self._link.instance if self._link is not None else ""

    @property
    def open(self) -> int:
        return len(self._waiting) + (self._link.open if self._link is not None else 0)

    async def wait_up(self, timeout_s: float) -> None:
        """Return once connected. Raises `LinkLost` with the last reason."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise LinkLost(self._reason) from None

    def call(self, head: Head, body: bytes, done: Done) -> int:
        """As `Link.call`; while the router is away the call waits until its deadline (else 10 s), then 50300."""
        head.id = next(self._ids)
        if self._link is not None:
            self._link.submit(head, body, done)
        else:
            self._wait(head, body, done)
        return head.id

    async def ask(self, head: Head, body: bytes = b"{}") -> bytes:
        """As `Link.ask`."""
        return await ask(self, head, body)

    async def control(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        """As `Link.control`."""
        return await control(self, method, arguments)

    def cancel(self, call_id: int) -> None:
        """As `Link.cancel`."""
        held = self._waiting.pop(call_id, None)
        if held is not None:
            held[4].cancel()
        elif self._link is not None:
            self._link.cancel(call_id)

    def end(self, principal: str, session: str) -> None:
        """As `Link.end`; nothing to tell while the router is away."""
        if self._link is not None:
            self._link.end(principal, session)

    def close(self) -> None:
        """Stop dialling, close, fail what waits."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        link, self._link = self._link, None
        self._reason = "the link to the router was closed"
        if link is not None:
            link.close()
        for call_id in list(self._waiting):
            self._expired(call_id)

    def _wait(self, head: Head, body: bytes, done: Done) -> None:
        if len(self._waiting) >= self._queue or self._task is None:
            fail(done, head, LinkLost(f"{self._reason}; try again"))
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(head.deadline / 1000 if head.deadline else PATIENCE_S, self._expired, head.id)
        self._waiting[head.id] = (head, body, done, loop.time(), timer)

    def _expired(self, call_id: int) -> None:
        head, _, done, _, timer = self._waiting.pop(call_id)
        timer.cancel()
        fail(done, head, LinkLost(f"{self._reason}; the call was not sent, try again"))

    async def _dial_for_ever(self) -> None:
        attempt = 0
        while True:
            self._down.clear()
            try:
                link = await Link.connect(
                    self._path, self._who,
                    on_note=self._on_note, on_changed=self._on_changed, on_lost=self._went,
                    ids=self._ids, unsent=self._wait,
                )  # fmt: skip
            except LinkLost as exc:
                self._reason = exc.message
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
                continue
            attempt = 0
            if link.up:
                self._came(link)
                await self._down.wait()

    def _came(self, link: Link) -> None:
        self._link = link
        self._up.set()
        log.info("link.up", instance=link.instance)
        waiting, self._waiting = self._waiting, {}
        now = asyncio.get_running_loop().time()
        for head, body, done, since, timer in waiting.values():
            timer.cancel()
            if head.deadline:
                head.deadline = max(1, head.deadline - int((now - since) * 1000))
            link.submit(head, body, done)
        if self._on_up is not None:
            self._on_up(link.instance)

    def _went(self, why: LinkLost) -> None:
        known, self._link = self._link, None
        self._reason = why.message
        self._up.clear()
        self._down.set()
        if known is not None:
            log.warning("link.lost", reason=why.message)
            if self._on_lost is not None:
                self._on_lost(why)
