"""`python -m central_mcp.coordinator`: the front door, one process. CENTRAL_HOME says where; logs are JSON lines."""

import argparse
import gc
import logging
import os
import sys

import structlog
import uvloop

from central_mcp import logs
from central_mcp.home import Home, HomeError

from .ports import PortTaken
from .server import StartError, run


class Forward(logging.Handler):
    """Errors of libraries that log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).error("library", message=record.getMessage(), exc_info=record.exc_info)


def main() -> int:
    parser = argparse.ArgumentParser(prog="central_mcp.coordinator", description=__doc__)
    parser.add_argument("--process", default="", help="name of this process in metrics and /ready")
    options = parser.parse_args()
    os.umask(0o077)
    try:
        home = Home.find()
        logs.configure(home.log / "coordinator.log")
        structlog.contextvars.bind_contextvars(pid=os.getpid(), process=options.process)
        logging.basicConfig(handlers=[Forward()], level=logging.ERROR, force=True)
        gc.freeze()  # modules live for ever
        uvloop.run(run(home, options.process))
    except (HomeError, StartError, PortTaken) as exc:
        print(f"coordinator: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
