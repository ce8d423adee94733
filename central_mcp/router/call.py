"""One call on its way through the router, and the clock rules of its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from central_mcp.protocol.frames import Head

if TYPE_CHECKING:
    from .back import Back
    from .front import Front
    from .lane import Lane
    from .pool import Pool

HARD = 30
"""A call that keeps showing signs of life may last so many times its `limits.call`."""
SAFE = frozenset(
    (
        "tools/list", "prompts/list", "prompts/get", "resources/list", "resources/read",
        "resources/templates/list", "completion/complete",
    )
)  # fmt: skip
"""Methods without effects: when a process dies under such a call, the next one gets it (MCP.md 5.3)."""


class Call:
    """Made by `Front`, owned by it until answered. `due` is when it times out."""

    __slots__ = (
        "again", "arrived", "back", "back_id", "body", "due", "front", "hard", "head", "id", "idle_s", "lane", "pool",
        "written",
    )  # fmt: skip

    def __init__(self, front: Front, head: Head, body: bytes, now: float) -> None:
        self.front = front
        self.id = head.id
        self.head = head
        self.body = body
        self.arrived = now
        self.idle_s = self.hard = self.due = 0.0
        self.again = False
        self.written = 0.0
        """When it was written to its server; 0: not yet."""
        self.pool: Pool | None = None
        self.lane: Lane | None = None
        self.back: Back | None = None
        self.back_id = 0

    def limit(self, call_s: float) -> None:
        """Set the clock rules: `call_s` without a sign of life; in all the head's deadline, else 30 times `call_s`."""
        self.idle_s = call_s
        self.hard = self.arrived + (self.head.deadline / 1000 if self.head.deadline else HARD * call_s)
        self.due = min(self.arrived + call_s, self.hard)

    def alive(self, now: float) -> None:
        """A sign of life: the idle clock starts anew."""
        self.due = min(now + self.idle_s, self.hard)

    @property
    def what(self) -> str:
        return self.head.method
