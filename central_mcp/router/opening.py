"""Opening a process of a server: connect to its runner, find out its era, shake hands. MCP.md 3.

Owns the order of the handshake and the words for each way it can fail. Called by `pool` (for calls) and `control`
(the gate's probe).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from central_mcp.protocol import back as wire
from central_mcp.protocol.lines import Message, plain
from central_mcp.registry import Era, Release

from . import exits
from .back import Back, BackLost, Owner
from .spawns import Spawns

DISCOVER_S = 3.0
"""How long a server may leave `server/discover` unanswered before `initialize` is tried as well."""
START_S = 60.0
"""How long a server may take to answer the handshake. Python under load needs many seconds only to import."""
RUNNER_S = 5.0
"""How long we look for a runner's socket: supervisord may just be restarting it."""
_RUNNER_LOOK_S = 0.05


class OpenFailed(Exception):
    """The server did not come up; `str()` is the cause: "exited with code 1: ..." """

    def __init__(self, cause: str, stderr: list[str] | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.stderr = (stderr or [])[-exits.LINES :]


@dataclass
class Opening:
    """What is needed to open a process of one release."""

    owner: Owner
    release: Release
    status: Path
    spawns: Spawns
    start_s: float = START_S
    eras: tuple[Era, ...] = field(default=())
    """Eras known of the release."""
    _end: float = 0.0

    async def open(self, era: str = "") -> Back:
        """A process ready for calls. `era`: the one wanted, else any. Raises `OpenFailed`."""
        if not era and len(self.eras) == 1:
            era = self.eras[0]
        place = await self.spawns.enter(self.owner.server)
        self._end = asyncio.get_running_loop().time() + self.start_s
        try:
            back = await self._handshake(era)
            if back is None:  # it went away over a question of the other era: a fresh process, asked in the old way
                back = await self._handshake("legacy")
            assert back is not None
            return back
        finally:
            place.leave()

    async def _handshake(self, era: str) -> Back | None:
        """None: the process ended over `server/discover`, and the era was not known."""
        back = await self._connect()
        try:
            if era == "legacy":
                await self._initialize(back)
            elif era == "modern":
                await self._discover(back)
            else:
                await self._find_out(back)
        except BackLost:
            if era == "":
                return None
            raise await self._explain(back) from None
        except BaseException:
            back.abort()
            raise
        return back

    async def _connect(self) -> Back:
        """Raises `OpenFailed` when no runner listens."""
        if self.release.transport != "stdio":
            raise OpenFailed(f"transport {self.release.transport} is not served by this version; declare stdio")
        path = self.release.replica.address.removeprefix("unix:")
        loop = asyncio.get_running_loop()
        end = time.monotonic() + RUNNER_S
        while True:
            back = Back(self.owner)
            back.exits_before = exits.read(self.status).exits
            try:
                await loop.create_unix_connection(lambda back=back: back, path)  # type: ignore[misc]
                return back
            except OSError as exc:
                if time.monotonic() > end:
                    raise OpenFailed(f"its runner does not answer at {path}: {exc.strerror or exc}") from None
            await asyncio.sleep(_RUNNER_LOOK_S)

    async def _initialize(self, back: Back) -> None:
        try:
            async with asyncio.timeout_at(self._end):
                answer = await back.ask(wire.initialize)
        except TimeoutError:
            raise self._silent(back, "initialize") from None
        self._settle_legacy(back, answer)

    async def _discover(self, back: Back) -> None:
        try:
            async with asyncio.timeout_at(self._end):
                answer = await back.ask(wire.discover)
                hello = wire.read_discover(answer)
                if hello is None:
                    text = plain(bytes(answer.error) or bytes(answer.result))
                    raise OpenFailed(f"answered server/discover, which it knew at the gate, with {text}")
        except TimeoutError:
            raise self._silent(back, "server/discover") from None
        back.settle("modern", hello)

    async def _find_out(self, back: Back) -> None:
        """Ask in the modern way; after an error or three silent seconds in the old way too; the first answer counts."""
        discover = back.ask(wire.discover)
        await asyncio.wait((discover,), timeout=min(DISCOVER_S, self._left()))
        if discover.done():
            hello = wire.read_discover(discover.result())
            if hello is not None:
                back.settle("modern", hello)
            else:
                await self._initialize(back)
            return
        initialize = back.ask(wire.initialize)
        await asyncio.wait((discover, initialize), timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
        if discover.done() and (late := wire.read_discover(discover.result())) is not None:
            back.settle("modern", late)
            return
        try:
            async with asyncio.timeout_at(self._end):
                answer = await initialize
        except TimeoutError:
            raise self._silent(back, "initialize") from None
        self._settle_legacy(back, answer)

    def _left(self) -> float:
        return max(0.0, self._end - asyncio.get_running_loop().time())

    def _settle_legacy(self, back: Back, answer: Message) -> None:
        try:
            hello = wire.read_initialize(answer)
        except wire.Refused as exc:
            raise OpenFailed(str(exc)) from None
        back.settle("legacy", hello)

    def _silent(self, back: Back, what: str) -> OpenFailed:
        if back.noise and not back.heard:
            return OpenFailed(f"answered with what is not JSON-RPC: {back.last_noise}")
        return OpenFailed(f"did not answer {what} within {self.start_s:g} s")

    async def _explain(self, back: Back) -> OpenFailed:
        found = await exits.wait(self.status, back.exits_before, back.opened)
        said = f"; before, it printed {back.last_noise}, which is not JSON-RPC" if back.noise else ""
        if found is None:
            return OpenFailed(f"closed its output while starting{said}")
        return OpenFailed(found.text + said, found.stderr)
