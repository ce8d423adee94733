"""supervisord: its configuration, its RPC, what keeps it alive, and how a program is run to its end.

Used by the engine, the CLI and the provisioning. Knows programs, not servers. The keeper is a program of its own:
`python -m central_mcp.supervise.keeper`.
"""

from .configuration import Configuration, validate
from .errors import ConfigError, KeeperError, ProgramError, RunError, SuperviseError, SupervisorDown
from .program import Program, render_main, render_programs
from .running import run_as
from .supervisor import Changes, ProcessState, State, Supervisor

__all__ = [
    "Changes",
    "ConfigError",
    "Configuration",
    "KeeperError",
    "ProcessState",
    "Program",
    "ProgramError",
    "RunError",
    "State",
    "SuperviseError",
    "Supervisor",
    "SupervisorDown",
    "render_main",
    "render_programs",
    "run_as",
    "validate",
]
