"""What all conversations of one coordinator process share: directory, link to the router, seals, who is listening.

Made by server.py; used by conversation.py, ws.py, http.py and pages.py. Opens no socket itself.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog
from msgspec import Raw

from central_mcp import __version__
from central_mcp.protocol.frames import Head
from central_mcp.protocol.messages import to_json
from central_mcp.protocol.tokens import Sealer
from central_mcp.registry import Snapshot

from .access import Access
from .directory import TOOLS_CHANGED, Change, Directory
from .metrics import Metrics
from .relist import Relisting

if TYPE_CHECKING:
    from .conversation import Conversation
    from .exchange import Exchange

NAME = "central-mcp"
INSTRUCTIONS_BYTES = 4096
log = structlog.get_logger("coordinator")


class Calls(Protocol):
    """What is needed of a link to the router; `central_mcp.link.Redial` is one."""

    @property
    def up(self) -> bool: ...
    @property
    def open(self) -> int: ...
    def call(self, head: Head, body: bytes, done: Callable[[Head, bytes], None]) -> int: ...
    async def ask(self, head: Head, body: bytes = b"{}") -> bytes: ...
    def cancel(self, call_id: int) -> None: ...
    def end(self, principal: str, session: str) -> None: ...


class Front:
    """The shared state. `update()` with each snapshot, `note()` and `changed()` from the link."""

    link: Calls

    def __init__(self, registry: Path, machine_key: bytes, access: Access, metrics: Metrics) -> None:
        self.access = access
        self.metrics = metrics
        self.directory = Directory(registry)
        self.sessions = Sealer(machine_key, "session")
        self.cursors = Sealer(machine_key, "cursor")
        self.info = to_json({"name": NAME, "version": __version__})
        self.instructions = ""
        self.conversations: set[Conversation] = set()
        self.exchanges: dict[int, Exchange] = {}
        """By call id: the calls that want notifications."""
        self.closing = asyncio.Event()
        self._relisting = Relisting()
        self.snapshot = Snapshot(version=0)
        self.updated: list[Callable[[Snapshot], None]] = []

    def update(self, snapshot: Snapshot) -> None:
        """A new snapshot: revoked keys end their conversations, changed lists are told to who listens."""
        self.snapshot = snapshot
        self.access.update(snapshot.keys)
        changes = self.directory.update(snapshot)
        self.instructions = _instructions(snapshot)
        for conversation in list(self.conversations):
            if not self.access.knows(conversation.caller.key):
                conversation.revoke()
        self._tell(changes)
        for updated in self.updated:
            updated(snapshot)
        log.info("snapshot.taken", version=snapshot.version, servers=len(snapshot.servers), changes=len(changes))

    def note(self, call_id: int, head: Head, body: bytes) -> None:
        """A notification of a call under way."""
        exchange = self.exchanges.get(call_id)
        if exchange is not None:
            exchange.note(head.method, body)

    def changed(self, server: str, method: str) -> None:
        """The router heard from a server that one of its lists changed."""
        entry = self.directory.entries.get(server)
        shared = entry is not None and entry.release is not None and entry.release.sessions == "shared"
        if method == TOOLS_CHANGED and shared:
            self._relisting.ask(self.link, server, self._relisted)
        else:
            self._tell([Change(server, method)])

    def _relisted(self, server: str, tools: list[Raw] | None) -> None:
        if tools is not None:
            self.directory.relist(server, tools)
        self._tell([Change(server, TOOLS_CHANGED)])

    def _tell(self, changes: list[Change]) -> None:
        if not changes:
            return
        aggregate = {change.method for change in changes} & {TOOLS_CHANGED}
        of_server: dict[str, set[str]] = {}
        for server, method in changes:
            of_server.setdefault(server, set()).add(method)
        for conversation in list(self.conversations):
            methods = of_server.get(conversation.server, set()) if conversation.server else aggregate
            for method in methods:
                conversation.changed(method)


def _instructions(snapshot: Snapshot) -> str:
    """What a model should know of the aggregate; cut at `INSTRUCTIONS_BYTES`."""
    lines = ["Tools of several MCP servers. A tool's name is <server>__<tool>."]
    lines += [
        f"- {server.name}: {server.description}"
        for server in snapshot.servers.values()
        if server.description and server.serving
    ]
    text = "\n".join(lines)
    return text if len(text) <= INSTRUCTIONS_BYTES else text[:INSTRUCTIONS_BYTES].rsplit("\n", 1)[0]
