"""`python -m central_mcp.engine`: the one program that changes things. Run by supervisord, listens on no network."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys

import structlog

from .. import logs
from ..home import Home, HomeError
from ..link import Redial
from .back import Back
from .context import Context
from .locks import ProjectLocks
from .programs import Programs
from .publish import Publisher, PublishError
from .recovery import recover
from .requests import Requests
from .rollouts import Rollouts
from .server import Server, own_uid
from .state import State, StateError

log = structlog.get_logger("engine")


async def serve(home: Home) -> None:
    """Recover, listen, serve until SIGTERM. Raises `StateError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    link = Redial(home.router_socket, "engine", on_note=_ignore, on_changed=_ignore)
    link.start()
    state = State(home.state)
    publisher = Publisher(home, state)
    context = Context(home, state, publisher, Programs(home, publisher), Back(link), ProjectLocks())
    rollouts = Rollouts(context)
    server = Server(home.engine_socket, own_uid(), Requests(context, rollouts).handle)
    try:
        await recover(context, rollouts)
        await server.start()
        log.info("ready", home=str(home.root), pid=os.getpid())
        await stop.wait()
    finally:
        log.info("stopping")
        await server.close()
        await rollouts.close()
        link.close()
        state.close()


def _ignore(*_: object) -> None:
    """The gate's calls ask for no progress, and lists are read anew at each rollout."""


def main() -> int:
    try:
        home = Home.find()
        logs.configure(home.log / "engine.log")
        with (home.etc / "engine.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(serve(home))
    except BlockingIOError:
        print("engine: another engine of this home is running; end that one first", file=sys.stderr)
        return 1
    except (HomeError, StateError, PublishError, OSError) as exc:
        print(f"engine: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
