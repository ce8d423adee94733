"""Asking a server for its tools again after it said that they changed, so that the aggregate shows them.

Only for shared servers: elsewhere each caller's process may list differently, so there the gate's list stays.
Used by front.py.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import Raw

from central_mcp.protocol.errors import ProtocolError
from central_mcp.protocol.frames import Head, Kind
from central_mcp.protocol.messages import to_json

if TYPE_CHECKING:
    from .front import Calls

MAX_PAGES = 100
ANSWER_MS = 10_000
Heard = Callable[[str, list[Raw] | None], None]
log = structlog.get_logger("relist")


class _Page(msgspec.Struct):
    tools: list[Raw] = []
    nextCursor: str | None = None


_decode = msgspec.json.Decoder(_Page).decode


async def list_again(link: "Calls", server: str) -> list[Raw] | None:
    """All tools of `server`, raw; None when it does not answer as it should (logged)."""
    tools: list[Raw] = []
    cursor: str | None = None
    try:
        for _ in range(MAX_PAGES):
            head = Head(Kind.CALL, method="tools/list", server=server, era="legacy", deadline=ANSWER_MS)
            page = _decode(await link.ask(head, to_json({"cursor": cursor} if cursor is not None else {})))
            tools += page.tools
            cursor = page.nextCursor
            if cursor is None:
                return tools
    except (ProtocolError, msgspec.DecodeError) as exc:
        log.warning("relist.failed", server=server, reason=str(exc))
        return None
    log.warning("relist.endless", server=server, pages=MAX_PAGES)
    return None


class Relisting:
    """One question at a time per server; what changes meanwhile is asked once more."""

    def __init__(self) -> None:
        self._again: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, link: "Calls", server: str, heard: Heard) -> None:
        """Call `heard(server, tools | None)` with the new list."""
        if server in self._again:
            self._again[server] = True
            return
        self._again[server] = False
        task = asyncio.get_running_loop().create_task(self._ask(link, server, heard))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, link: "Calls", server: str, heard: Heard) -> None:
        try:
            while True:
                self._again[server] = False
                heard(server, await list_again(link, server))
                if not self._again[server]:
                    return
        finally:
            del self._again[server]
