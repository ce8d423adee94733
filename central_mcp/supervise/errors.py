"""What can go wrong with supervisord and the programs under it.

SuperviseError
+-- ConfigError       a configuration that supervisord would not take; names file, section and reason
+-- ProgramError      a program cannot be what was asked: unknown, did not stop in time, cannot be started
+-- SupervisorDown    supervisord does not answer
+-- KeeperError       the keeper cannot start or does not end
+-- RunError          a program run by `run_as` took too long, was cancelled or could not be started
"""

from pathlib import Path


class SuperviseError(Exception):
    """`str()` names the thing, the cause and what to do next."""


class ConfigError(SuperviseError):
    def __init__(self, file: Path | str, section: str, reason: str) -> None:
        super().__init__(f"{file}: {f'[{section}]: ' if section else ''}{reason}")
        self.file = Path(file)
        self.section = section
        self.reason = reason


class ProgramError(SuperviseError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class SupervisorDown(SuperviseError):
    pass


class KeeperError(SuperviseError):
    pass


class RunError(SuperviseError):
    pass
