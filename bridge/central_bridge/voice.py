"""What the bridge itself tells the client: own answers, refusals, losses. Pure. Owned by `core`."""

from dataclasses import dataclass, field
from typing import Any

from . import answers
from .answers import Trouble
from .calls import Call
from .messages import part
from .session import Session


@dataclass
class Voice:
    """`lines` is what goes to the client, in order. `known` is the coordinator's last discover or initialize result,
    `trouble` why the last attempt to reach it failed."""

    url: str
    lines: list[bytes] = field(default_factory=list)
    known: dict[str, Any] | None = None
    trouble: Trouble | None = None
    stale: bool = False
    """The client was told less than the coordinator would have told it: it must be made to ask again."""

    def learn(self, message: dict[str, Any]) -> None:
        value = message.get("result")
        if isinstance(value, dict):
            self.known = value

    def invalid(self, id: int | str | None, why: str) -> None:
        self.lines.append(answers.error(id, answers.INVALID_REQUEST, f"central-mcp-bridge: {why}"))

    def not_json(self, why: ValueError) -> None:
        text = f"central-mcp-bridge: a line is not JSON: {why}"
        self.lines.append(answers.error(None, answers.PARSE_ERROR, text))

    def initialize(self, session: Session) -> None:
        """Answer a client's `initialize` without the coordinator."""
        session.answered = True
        self.stale = True
        value = answers.own_initialize(session.asked, self.known, self._note())
        self.lines.append(answers.result(session.client_id, value))

    def relay_initialize(self, session: Session, message: dict[str, Any]) -> None:
        """Answer a client's `initialize` with the coordinator's answer."""
        session.answered = True
        self.lines.append(answers.encode({**message, "id": session.client_id}))

    def discover(self, call: Call) -> None:
        """Answer a client's `server/discover` without the coordinator."""
        asked = part(call.params, "_meta").get(answers.META_VERSION)
        self.lines.append(answers.discover(call.id, asked, self.known, self._note()))

    def unreachable(self, call: Call, trouble: Trouble, more: str = "") -> None:
        self.stale = True
        data = {"url": self.url, "cause": trouble.cause}
        self.lines.append(answers.error(call.id, trouble.code, trouble.text(self.url) + more, data))

    def unknown(self, call: Call, why: str) -> None:
        self.lines.append(answers.outcome_unknown(call.id, call.what, self.url, why))

    def withdrawn(self, id: int | str) -> None:
        """A request of the coordinator to the client is void."""
        params = {"requestId": id, "reason": f"the connection to {self.url} was lost"}
        self.lines.append(answers.notification("notifications/cancelled", params))

    def _note(self) -> str | None:
        return self.trouble.text(self.url) if self.trouble else None
