"""`central-mcp-bridge`: reads the command line and the environment, runs the bridge or the check, ends the process."""

import contextlib
import os
import sys

from . import __version__, config
from .config import ConfigError, Settings
from .log import Log

HELP = """\
central-mcp-bridge - connects an MCP client (stdio) with central-mcp on your VM (WebSocket)

usage: central-mcp-bridge [--check | --version | --help]

An MCP client starts it without arguments. --check tries the settings, counts the tools and says what is wrong
(exit code 0: works, 1: does not, 2: a setting is wrong).

environment:
  CENTRAL_MCP_URL   ws://HOST:3000/mcp, wss://..., or .../s/SERVER/mcp for one server          (required)
  PROJECT_NAME      the project that the key was made for                                     (required)
  API_KEY           the key: ${VAR}, ${VAR:-default} or file:/path, or the key itself         (required)
  CLIENT_ID         a name for this client in the VM's logs                [central-mcp-bridge]
  CENTRAL_MCP_CA    PEM file with the CA of a wss:// URL                   [the system's]
  CENTRAL_MCP_WAIT  seconds that a request waits for a connection          [30]
  CENTRAL_MCP_KEEPALIVE  seconds of silence after which it pings           [20]
  CENTRAL_LOG       LEVEL or LEVEL,FILE; debug, info, warning, error       [warning, to stderr]
"""


def main() -> None:
    """The console script. Never returns: threads may sit in a blocking read."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    if arguments in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if arguments == ["--version"]:
        print(f"central-mcp-bridge {__version__}")
        return 0
    if arguments not in ([], ["--check"]):
        print(f"central-mcp-bridge: unknown arguments {arguments}; see --help", file=sys.stderr)
        return 2
    settings: Settings | None = None
    broken: ConfigError | None = None
    try:
        settings = config.load(os.environ)
    except ConfigError as error:
        broken = error
    log = Log(settings.log_level, settings.log_file) if settings else Log()
    for warning in settings.warnings if settings else ():
        log("warning", warning)
    if broken is not None:
        log("error", str(broken))
    if arguments == ["--check"]:
        from .check import check

        return check(settings) if settings else 2
    from .bridge import Bridge

    text = f"central-mcp-bridge is not configured: {broken}" if broken else None
    code = Bridge(settings, text, os.environ, log).run()
    return 2 if broken else code


if __name__ == "__main__":
    main()
