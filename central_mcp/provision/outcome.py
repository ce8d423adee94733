"""The answer of every provisioning step, in the words that Ansible prints: changed or not, and a diff."""

from dataclasses import dataclass, field
from typing import Any


class ProvisionError(Exception):
    """A step cannot be done; the message names the thing, the cause and what to do next."""


@dataclass
class Outcome:
    """What a step changed, or would change in check mode. `lines` says it in words, one change a line."""

    lines: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.lines)

    def did(self, line: str) -> None:
        self.lines.append(line)

    def result(self) -> dict[str, Any]:
        """Arguments of Ansible's `exit_json`."""
        diff = [{"before": self.before, "after": self.after}] if self.before != self.after else []
        return {"changed": self.changed, "changes": self.lines, "diff": diff, **self.facts}
