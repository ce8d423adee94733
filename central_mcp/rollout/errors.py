"""Why a rollout did not happen: one tree, told the same way to git, to the CLI and to Ansible.

RolloutError(code, stage, server, cause, log_tail, hint)
+-- PlanError    the manifest, the names or the ports do not allow it      (nothing was started)
+-- BuildError   an environment could not be locked or installed          (raised by `rollout.environment`)
+-- StartError   the program of a new release did not come up
+-- GateError    it came up but must not serve
+-- SwitchError  the commit point could not be reached; the old releases serve
+-- WatchError   it served and failed more than before; the old releases serve again
+-- Busy         another rollout of the project holds the lock
+-- Stopped      the rollout was ended from outside (engine restart, playbook gone)
"""

from collections.abc import Sequence
from typing import Any


class RolloutError(Exception):
    """What failed, where, why, and what to do next. `log_tail`: the last lines that the server or tool wrote."""

    code = "rollout"
    stage = "rollout"

    def __init__(
        self,
        cause: str,
        *,
        server: str = "",
        stage: str = "",
        log_tail: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.server = server
        self.stage = stage or self.stage
        self.log_tail = list(log_tail)
        self.hint = hint

    def __str__(self) -> str:
        """One line: `git: gate: exited with code 1 (hint)`."""
        where = ": ".join(part for part in (self.server, self.stage) if part)
        return f"{where}: {self.cause}" if where else self.cause

    def event(self) -> dict[str, Any]:
        """The `failed` event of this error."""
        return {
            "type": "failed",
            "code": self.code,
            "server": self.server,
            "stage": self.stage,
            "cause": self.cause,
            "log": self.log_tail,
            "hint": self.hint,
        }


class PlanError(RolloutError):
    code = "plan"
    stage = "plan"


class BuildError(RolloutError):
    code = "build"
    stage = "build"


class StartError(RolloutError):
    code = "start"
    stage = "start"


class GateError(RolloutError):
    code = "gate"
    stage = "gate"


class SwitchError(RolloutError):
    code = "switch"
    stage = "switch"


class WatchError(RolloutError):
    code = "watch"
    stage = "watch"


class Busy(RolloutError):
    code = "busy"
    stage = "lock"


class Stopped(RolloutError):
    code = "stopped"
    stage = "rollout"
