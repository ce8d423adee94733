"""Why a command ends without having done it, and with which exit code. Every error says what to do next.

CliError 1            refused or failed
+-- UsageError 2      the command line or the folder it runs in does not fit
+-- Unreachable 3     no cloud answers
+-- Interrupted 130   the user stopped waiting
"""

OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


class CliError(Exception):
    """`str()` is `<thing>: <cause>`; `next_step` is a sentence or a command."""

    code = FAILED

    def __init__(self, message: str, next_step: str = "", reason: str = "") -> None:
        """`reason`: the engine's own code, if it was the engine that refused."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.reason = reason


class UsageError(CliError):
    code = USAGE


class Unreachable(CliError):
    code = UNREACHABLE


class Interrupted(CliError):
    code = INTERRUPTED
