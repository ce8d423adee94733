"""The router as a program: its socket, its snapshot watch, its signals.

The socket is bound under a temporary name, listens, and is renamed into place: who finds it can connect. A router that
is started while another runs takes its place; the other's links stay until it ends.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import structlog

from central_mcp.home import Home

from .front import Front
from .router import Router

BACKLOG = 256

log = structlog.get_logger("router")


async def serve(home: Home, instance: str, uids: Iterable[int] = (), engines: Iterable[int] = ()) -> None:
    """Run until SIGTERM or SIGINT. Raises `HomeError`, `RegistryError`, `OSError` when it cannot start."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    own = {0, os.getuid()}
    router = Router(home, instance, uids=frozenset({*own, *uids}), engines=frozenset({*own, *engines}))
    router.start()
    path = home.router_socket
    listener, inode = bind(path, strangers=bool({*uids, *engines} - own))
    server = await loop.create_unix_server(lambda: Front(router), sock=listener, backlog=BACKLOG)
    log.info("router.up", instance=instance, pid=os.getpid(), socket=str(path), snapshot=router.snapshot.version)
    try:
        await stop.wait()
    finally:
        log.info("router.stopping", instance=instance)
        unbind(path, inode)
        server.close()
        router.stop()
        await asyncio.sleep(0)  # what is written leaves


def bind(path: Path, *, strangers: bool) -> tuple[socket.socket, int]:
    """A listening socket at `path` and its inode. Mode 0600; with `strangers` 0666, as SO_PEERCRED decides anyway."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(temporary))
        temporary.chmod(0o666 if strangers else 0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        inode = temporary.stat().st_ino
        temporary.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener, inode


def unbind(path: Path, inode: int) -> None:
    """Remove our socket; one that a successor has put there stays."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
