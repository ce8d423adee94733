"""The client's open requests: an ordered table, the waiting line before the window, and what may be sent twice.

Pure. Owned by `core`. Ids keep their JSON type: 7 and "7" are two requests.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

WINDOW = 31
"""Calls written and unanswered at once. The coordinator stops reading a connection that has 32 under way, and would
then not see pings and cancellations either; so the rest waits here, where it can still be withdrawn."""

MAX_TRIES = 3
"""How often one request is written, over lost connections: it may be the request that costs the connection."""

_SAFE = frozenset(
    {
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "server/discover",
        "subscriptions/listen",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    }
)
LISTEN = "subscriptions/listen"
DISCOVER = "server/discover"


@dataclass(slots=True, eq=False)
class Call:
    """One open request of the client."""

    id: int | str
    method: str
    raw: bytes
    since: float
    params: dict[str, Any]
    """Kept only for the methods that need it later; else empty."""
    tool: str | None = None
    hedge: float | None = None
    """When the bridge answers by itself (seconds on the core's clock); discover only."""
    sent: bool = False
    tries: int = 0
    acked: bool = False
    stale: bool = False
    """A listen whose client must hear `list_changed` when it is live again."""

    @property
    def what(self) -> str:
        return f"{self.method} {self.tool!r}" if self.tool is not None else self.method


@dataclass
class Calls:
    """The table. `open` is in order of arrival; `line` holds those not written yet, in the order to write them."""

    open: dict[int | str, Call] = field(default_factory=dict)
    line: deque[Call] = field(default_factory=deque)
    under_way: int = 0
    waiting_bytes: int = 0
    hedged: int = 0
    """How many open calls the bridge may have to answer by itself."""
    safe_tools: set[str] = field(default_factory=set)

    def add(self, call: Call) -> None:
        self.open[call.id] = call
        self.line.append(call)
        self.hedged += call.hedge is not None
        self.waiting_bytes += len(call.raw)

    def next(self) -> Call | None:
        """Take the next call to write, or None while the window is full or the line is empty."""
        while self.line and self.under_way < WINDOW:
            call = self.line.popleft()
            if self.open.get(call.id) is not call:
                continue
            self.waiting_bytes -= len(call.raw)
            call.sent = True
            call.tries += 1
            self.under_way += call.method != LISTEN
            return call
        return None

    def close(self, id: int | str) -> Call | None:
        """Forget a call (answered or withdrawn). A call still in line leaves a hole that `next` steps over."""
        call = self.open.pop(id, None)
        if call is not None:
            self.hedged -= call.hedge is not None
            if call.sent:
                self.under_way -= call.method != LISTEN
            else:
                self.waiting_bytes -= len(call.raw)
        return call

    def waiting(self) -> Iterator[Call]:
        return (call for call in list(self.open.values()) if not call.sent)

    def listens(self) -> Iterator[Call]:
        return (call for call in list(self.open.values()) if call.method == LISTEN)

    def lose(self) -> list[Call]:
        """The connection is gone: line up again what may be written again; return (and forget) the rest."""
        unknown: list[Call] = []
        for call in list(self.open.values()):
            if call.sent and not self._again(call):
                unknown.append(call)
                self.close(call.id)
            elif call.sent:
                call.sent = False
                call.stale = call.stale or call.acked
        self.line = deque(self.open.values())
        self.under_way = 0
        self.waiting_bytes = sum(len(call.raw) for call in self.line)
        return unknown

    def learn_tools(self, page: dict[str, Any], first: bool) -> None:
        """Remember which tools say readOnlyHint or idempotentHint; a first page starts afresh."""
        if first:
            self.safe_tools.clear()
        tools = page.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
                continue
            hints = tool.get("annotations")
            if isinstance(hints, dict) and (hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True):
                self.safe_tools.add(tool["name"])
            else:
                self.safe_tools.discard(tool["name"])

    def _again(self, call: Call) -> bool:
        if call.method == LISTEN:
            return True
        if call.tries >= MAX_TRIES:
            return False
        return call.method in _SAFE or (call.method == "tools/call" and call.tool in self.safe_tools)
