"""A steady load of tool calls while something else happens: through the bridge (legacy) and over WebSocket (modern).

`with Load(fleet, targets) as load:` calls at RATE a second on each of both lanes, open loop, from a thread of its own;
leaving it waits for every answer. An answer that is no good, or that never comes, is in `failed`.
"""

import asyncio
import contextlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.asyncio.client import connect

from tests.integration.bridge.client import META
from tests.waiting import SECOND, wait_until

from .pushed import BRIDGE, Fleet

RATE = 50
"""Calls a second on each lane."""
ANSWER_S = 60.0 * SECOND


@dataclass(frozen=True)
class Target:
    tool: str
    arguments: dict[str, Any]
    good: Sequence[str]
    """An answer must hold one of these."""


class Lane:
    """One connection with its calls. Subclasses bring the bytes to the coordinator."""

    name = ""
    meta: ClassVar[dict[str, Any]] = {}

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.open: dict[int, Target] = {}
        self.done = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    async def calls(self) -> None:
        """Call until the load ends, then wait for what is open."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number, target in zip(itertools.count(1), itertools.cycle(self.load.targets), strict=False):
            if self.load.ending.is_set():
                break
            params: dict[str, Any] = {"name": target.tool, "arguments": target.arguments, **self.meta}
            self.open[number] = target
            await self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
            await asyncio.sleep(
                max(begun + number / RATE - loop.time(), 0)
            )  # the pace of the load, no wait for anything
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while self.open:
                    self.done.clear()
                    await self.done.wait()
        for number, target in self.open.items():
            self.load.failed.append(f"{self.name}: no answer to call {number} of {target.tool}")

    def heard(self, line: str | bytes) -> None:
        message = json.loads(line)
        target = self.open.pop(message.get("id"), None)
        if target is None:
            return
        self.done.set()
        result = message.get("result", {})
        text = " ".join(part.get("text", "") for part in result.get("content", []))
        good = next((good for good in target.good if good in text), None)
        if good is None or result.get("isError"):
            self.load.failed.append(f"{self.name}: {target.tool}: {message}")
        else:
            self.load.answers[self.name, target.tool, good] += 1


class SocketLane(Lane):
    name = "websocket"
    meta: ClassVar = {"_meta": META}

    async def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.load.fleet.key}"}
        url = f"{self.load.fleet.ws_url}/mcp"
        async with connect(url, additional_headers=headers, subprotocols=["mcp"], compression=None) as self.raw:  # type: ignore[list-item]
            reader = asyncio.create_task(self._read())
            await self.calls()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self) -> None:
        async for message in self.raw:
            self.heard(message)

    async def send(self, message: dict[str, Any]) -> None:
        await self.raw.send(json.dumps(message))


class BridgeLane(Lane):
    name = "bridge"

    async def run(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            BRIDGE,
            env=self.load.fleet.bridge(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        assert self.process.stdin is not None
        reader = asyncio.create_task(self._read())
        try:
            about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            await self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about})
            await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            await self.calls()
        finally:
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), ANSWER_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
            await reader

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.heard(line)

    async def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()


class Load:
    def __init__(self, fleet: Fleet, targets: Sequence[Target]) -> None:
        self.fleet = fleet
        self.targets = targets
        self.failed: list[str] = []
        self.answers: Counter[tuple[str, str, str]] = Counter()
        """(lane, tool, what was found in the answer) -> how often."""
        self.lanes: list[SocketLane | BridgeLane] = []
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> "Load":
        self._thread.start()
        try:
            self.until(*(target.good[0] for target in self.targets))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        self.ending.set()
        self._thread.join()

    def until(self, *words: str, more: int = 5) -> None:
        """Wait until answers with each of these words came `more` times from now on, on each lane."""
        before = Counter(self.answers)

        def came() -> bool:
            news = Counter(self.answers) - before
            found = Counter[tuple[str, str]]()
            for (lane, _, good), times in news.items():
                found[lane, good] += times
            return bool(self.failed) or all(found[lane.name, word] >= more for lane in LANES for word in words)

        try:
            wait_until(came, f"answers with {words}", 60)
        except AssertionError as exc:
            still = {lane.name: Counter(target.tool for target in lane.open.values()) for lane in self.lanes}
            raise AssertionError(f"{exc}; failed {self.failed}; open {still}; answers {self.answers}") from None

    def _run(self) -> None:
        async def lanes() -> None:
            self.lanes = [lane(self) for lane in LANES]
            await asyncio.gather(*(lane.run() for lane in self.lanes))

        try:
            asyncio.run(lanes())
        except Exception as exc:  # noqa: BLE001 - a lane that broke is a failure of the load, told with the others
            self.failed.append(f"a lane broke: {exc!r}")


LANES = (SocketLane, BridgeLane)
