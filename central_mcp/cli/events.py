"""A rollout on request of this user, told in the same words as a push."""

from collections.abc import Iterable
from typing import Any

from ..engine.told import Teller
from .errors import CliError
from .output import Steps


class Lines:
    """`Teller`'s output as lines of the step at work."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def write(self, text: str) -> int:
        if text.strip():
            self._steps.line(text.rstrip("\n"))
        return len(text)

    def flush(self) -> None:
        """Each line is out already."""


def follow(messages: Iterable[dict[str, Any]], steps: Steps) -> dict[str, Any]:
    """Tell the events, return `done`. Raises `CliError` when the rollout was refused; its last log lines are told."""
    teller = Teller(Lines(steps))
    failed: dict[str, Any] = {}
    done: dict[str, Any] = {}
    for message in messages:
        event = message.get("event", {})
        if event.get("type") == "failed":
            failed = event
            for line in event.get("log") or []:
                steps.line(f"    | {line}")
        else:
            teller.tell(event)
        done = dict(message.get("done", done))
    steps.abandon()
    if done.get("outcome") == "refused":
        cause = ": ".join(str(failed[key]) for key in ("server", "stage", "cause") if failed.get(key))
        raise CliError(cause or str(done.get("message")), str(failed.get("hint") or "the old release serves on"))
    return done
