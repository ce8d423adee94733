"""The running bridge: stdin and stdout on one side, one WebSocket on the other, `core` between them.

The only module with a loop. Owns when to dial, the timers and the end. Called by `main`.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import config
from .answers import MISCONFIGURED, Trouble
from .config import ConfigError, Settings
from .core import Core
from .log import Log
from .pace import Backoff, Pulse
from .pipes import Oversize, Stdin, Stdout
from .session import Link
from .wire import DialError, Loss, Wire, dial

LIMIT = 16 * 1024 * 1024
"""The longest message, both ways, in bytes."""

LINGER_S = 1.0
"""How long answers may still come in after stdin ended: clients kill what is not gone after 2 s."""

BACKLOG = 1024 * 1024
"""Waiting bytes at which the bridge stops reading stdin while it is connected."""

KICK_S = 1.0
"""A request of the client cuts a backoff short when the last attempt is this long ago."""


class Bridge:
    """Run once: `run()` returns the exit code. `broken` is a configuration error to answer every request with."""

    def __init__(self, settings: Settings | None, broken: str | None, env: Mapping[str, str], log: Log) -> None:
        self._settings = settings
        self._env = env
        self._log = log
        wait_s = settings.wait_s if settings else 30.0
        url = settings.url if settings else "(no URL)"
        self._core = Core(url, wait_s=wait_s, limit=LIMIT, broken=broken, log=log)
        self._loop = asyncio.new_event_loop()
        self._over = self._loop.create_future()
        self._kick = asyncio.Event()
        self._wire: Wire | None = None
        self._lost: Loss | None = None
        self._gone = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._owed = 0
        self._ending = False
        post = self._post
        self._stdin = Stdin(0, LIMIT, lambda batch: post(self._lines, batch), lambda: post(self._ended))
        self._stdout = Stdout(1, lambda: post(self._stop, 0), lambda: post(self._drained))

    def run(self) -> int:
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                self._on_signal(getattr(signal, name))
        self._stdin.start()
        self._stdout.start()
        return self._loop.run_until_complete(self._live())

    def _on_signal(self, number: int) -> None:
        try:  # a signal may arrive in another thread, and then only this wakes the loop
            self._loop.add_signal_handler(number, self._stop, 0)
        except NotImplementedError:  # Windows, whose loop is woken anyway
            signal.signal(number, lambda *_: self._post(self._stop, 0))

    async def _live(self) -> int:
        dialling: asyncio.Task[None] | None = None
        if self._settings is not None:
            dialling = asyncio.create_task(self._keep_connected(self._settings))
            dialling.add_done_callback(self._gave_up)
        code: int = await self._over
        if dialling is not None:
            dialling.cancel()
        self._flush()
        if self._wire is not None:
            await self._wire.close(0.5)
        self._stdout.finish(1.0)
        return code

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: so does this thread
            self._loop.call_soon_threadsafe(call, *args)

    # The client's side

    def _lines(self, batch: list[bytes | Oversize]) -> None:
        self._owed += 1
        now = self._loop.time()
        for item in batch:
            if isinstance(item, Oversize):
                self._core.oversize(item.id, item.size)
            else:
                self._core.line(item, now)
        if self._core.link is Link.DOWN:
            self._kick.set()
        self._flush()

    def _ended(self) -> None:
        self._log("info", "the client closed stdin")
        self._ending = True
        if not self._core.busy:
            self._stop(0)
        else:
            self._loop.call_later(LINGER_S, self._stop, 0)

    def _stop(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    def _drained(self) -> None:
        if self._wire is not None:
            self._wire.reading(True)

    # The coordinator's side

    def wire_frames(self, frames: list[bytes]) -> None:
        now = self._loop.time()
        for frame in frames:
            self._core.frame(frame, now)
        self._flush()

    def wire_room(self, room: bool) -> None:
        if room:
            self._core.drained()
            self._flush()
        else:
            self._core.holding = True

    def wire_lost(self, wire: Wire, loss: Loss) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        self._lost = loss
        self._core.lost(self._loop.time(), loss.why, too_big=loss.code == 1009)
        self._flush()
        self._gone.set()

    def _gave_up(self, dialling: asyncio.Task[None]) -> None:
        """`_keep_connected` never returns: what ended it is a bug, and a bridge without it would hang."""
        if not dialling.cancelled():
            self._log("error", f"internal error, please report: {dialling.exception()!r}")
            self._stop(1)

    async def _keep_connected(self, settings: Settings) -> None:
        backoff = Backoff(random.uniform)
        key = settings.key
        told = ""
        while True:
            started = self._loop.time()
            try:
                key = self._fresh_key(key)
                wire = await dial(settings, key, 2 * LIMIT, self)
            except DialError as error:
                self._core.failed(self._loop.time(), error.trouble)
                self._flush()
                if error.trouble.cause != told:
                    told = error.trouble.cause
                    self._log("warning", error.trouble.text(settings.url))
                await self._pause(backoff.after_failure(error.trouble.final), started)
                continue
            self._log("warning" if told else "info", f"connected to {settings.url}")
            told = ""
            began = self._loop.time()
            loss = await self._serve(wire, settings.keepalive_s)
            self._log("info" if loss.at_once else "warning", f"lost the connection to {settings.url}: {loss.why}")
            told = "" if loss.at_once else loss.why
            await self._pause(backoff.after_loss(self._loop.time() - began, loss.at_once), began)

    async def _serve(self, wire: Wire, keepalive_s: float) -> Loss:
        """Use a new connection until it is gone."""
        self._gone.clear()
        self._wire = wire
        self._core.up(self._loop.time())
        self._flush()
        pulse = Pulse(keepalive_s)
        if wire.closed.done():
            self.wire_lost(wire, Loss("it was cut at once"))
        while not self._gone.is_set():
            try:
                await asyncio.wait_for(self._gone.wait(), pulse.beat_s)
            except TimeoutError:
                now, wall = self._loop.time(), time.time()
                if wire.paused:  # our client does not read: silence says nothing about the peer
                    pulse.pinged = None
                    continue
                verdict = pulse.beat(now, wire.heard, wire.unsent(), self._core.calls.under_way > 0, wall)
                if verdict == "ping":
                    wire.ping()
                elif verdict == "dead":
                    wire.drop(f"no sign of life for {now - wire.heard:.0f} s")
        assert self._lost is not None
        return self._lost

    async def _pause(self, delay_s: float, last: float) -> None:
        """Wait `delay_s`, less when the client asks for something."""
        self._kick.clear()
        end = self._loop.time() + delay_s
        while (left := end - self._loop.time()) > 0:
            try:
                await asyncio.wait_for(self._kick.wait(), left)
            except TimeoutError:
                return
            self._kick.clear()
            end = min(end, max(self._loop.time(), last + KICK_S))

    def _fresh_key(self, old: str) -> str:
        """The key as it is now: a `file:` may have changed."""
        try:
            return config.load_key(self._env)
        except ConfigError as error:
            if old:
                self._log("warning", f"{error} The last good key is used.")
                return old
            raise DialError(Trouble(str(error), "", MISCONFIGURED, final=True)) from error

    # Both

    def _flush(self) -> None:
        """Write what the core has to say, and set its next timer."""
        core = self._core
        if core.to_vm:
            messages, core.to_vm = core.to_vm, []
            if self._wire is not None:
                self._wire.send(messages)
        if core.voice.lines:
            lines, core.voice.lines = core.voice.lines, []
            if not self._stdout.put(lines) and self._wire is not None:
                self._wire.reading(False)
        while self._owed and (core.link is not Link.READY or core.calls.waiting_bytes < BACKLOG):
            self._owed -= 1
            self._stdin.taken()
        if self._ending and not core.busy:
            self._stop(0)
        due = core.due()
        if due != self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = None if due is None else self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._due = self._timer = None
        self._core.tick(self._loop.time())
        self._flush()
