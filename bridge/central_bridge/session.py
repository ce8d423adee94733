"""The states of the connection, and a legacy client's session: what must be said again on every new connection.

Pure. Owned by `core`. The bridge always sends `initialize` under an id of its own; the client's answer is made from
the coordinator's when that comes in time, else from the bridge's own knowledge.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Link(Enum):
    """The connection, as far as the rules care."""

    DOWN = "down"
    OPEN = "open"  # the legacy handshake is under way
    READY = "ready"


MOVES = {
    (Link.DOWN, Link.OPEN),
    (Link.OPEN, Link.READY),
    (Link.READY, Link.OPEN),  # the client sends initialize on a connection that is there
    (Link.OPEN, Link.DOWN),
    (Link.READY, Link.DOWN),
}


class Phase(Enum):
    """Where the handshake stands on the present connection."""

    NONE = "not sent"
    SENT = "sent, unanswered"
    DONE = "answered"


@dataclass
class Session:
    request: dict[str, Any]
    client_id: int | str
    hedge: float
    """When the bridge answers `initialize` by itself."""
    phase: Phase = Phase.NONE
    wire_id: str = ""
    answered: bool = False
    """The client has its answer."""
    initialized: bytes | None = None
    """The client's own `notifications/initialized`, kept to be said again."""
    level: dict[str, Any] | None = None
    """The last `logging/setLevel` that was accepted."""
    subscribed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """URI -> the accepted `resources/subscribe`."""

    @property
    def asked(self) -> object:
        params = self.request.get("params")
        return params.get("protocolVersion") if isinstance(params, dict) else None

    def accepted(self, method: str, params: dict[str, Any]) -> None:
        """A stateful legacy request succeeded: remember it for the next connection."""
        uri = params.get("uri")
        if method == "logging/setLevel":
            self.level = params
        elif method == "resources/subscribe" and isinstance(uri, str):
            self.subscribed[uri] = params
        elif method == "resources/unsubscribe" and isinstance(uri, str):
            self.subscribed.pop(uri, None)

    def replays(self) -> list[tuple[str, dict[str, Any]]]:
        """(method, params) to send after `initialized` on a new connection."""
        level = [("logging/setLevel", self.level)] if self.level is not None else []
        return level + [("resources/subscribe", params) for params in self.subscribed.values()]
