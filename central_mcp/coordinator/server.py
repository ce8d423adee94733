"""The coordinator as a program: everything put together on one port, and taken down in order.

uvicorn parses HTTP and hands WebSockets to `SocketProtocol`; the registry watch and the link to the router feed the
`Front`. `run()` is what `python -m central_mcp.coordinator` calls.
"""

import asyncio
import contextlib
import functools
import hashlib
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Any

import structlog
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from central_mcp.home import Home
from central_mcp.link import Redial
from central_mcp.registry import RegistryError, Watch

from .access import Access
from .aliases import Aliases
from .door import Door
from .front import Front
from .http import McpHttp
from .metrics import Metrics
from .pages import pages
from .ports import BACKLOG, listen, one_at_a_time
from .sessions import Sessions
from .ws import SocketProtocol

LEAVE_S = 5
"""Seconds that calls under way have to finish after SIGTERM."""
WANTED_FILES = 65536
log = structlog.get_logger("coordinator")


class StartError(Exception):
    """The coordinator cannot start; the message says what to do."""


class Server(uvicorn.Server):
    """uvicorn, told what else must go when it goes."""

    front: Front
    aliases: Aliases

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave in order on SIGTERM and SIGINT, and then end with status 0 (uvicorn would raise the signal again)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("leaving", conversations=len(self.front.conversations))
        self.front.closing.set()
        await self.aliases.stop()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if transport is not None:
                getattr(transport, "underlying_transport", transport).abort()


async def run(home: Home, process: str = "") -> None:
    """Serve until SIGTERM. Raises `StartError`, `PortTaken`, `HomeError`."""
    settings = home.settings
    raise_file_limit()
    key = _machine_key(home)
    cloud = hashlib.sha256(b"central-mcp cloud " + key).hexdigest()[:16]
    front = Front(home.registry, key, Access(settings.host, settings.allowed_hosts), Metrics(process))
    link = Redial(home.router_socket, "coordinator", on_note=front.note, on_changed=front.changed)
    front.link = link
    watch = Watch(home.registry, front.update)
    server, aliases = _assemble(front, home, cloud)
    front.updated.append(aliases.update)
    try:
        watch.start()
    except RegistryError as exc:
        raise StartError(f"{exc}; push again, or `central rollback`") from exc
    link.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(one_at_a_time(home.run / "coordinator.lock"))
            sock = await listen(settings.host, settings.port, cloud)
            serving = asyncio.ensure_future(server.serve(sockets=[sock]))
            up = asyncio.ensure_future(server.up.wait())
            await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
        if not serving.done():
            aliases.start()
            log.info("serving", host=settings.host, port=settings.port, version=front.snapshot.version)
        await serving
    finally:
        watch.stop()
        link.close()
    log.info("left")


def _assemble(front: Front, home: Home, cloud: str) -> tuple[Server, Aliases]:
    ports: dict[int, str] = {}
    config = uvicorn.Config(
        app="",
        http=Door,
        ws=functools.partial(SocketProtocol, front=front, aliases=ports),  # type: ignore[arg-type]
        loop="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        backlog=BACKLOG,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=LEAVE_S,
    )
    server = Server(config)

    def protocol() -> Any:
        return config.http_protocol_class(config=config, server_state=server.server_state, app_state={})  # type: ignore[call-arg]

    aliases = Aliases(cloud, home.run / "aliases.lock", protocol)
    aliases.ports = ports
    sessions = Sessions(front, home.run / "sessions.ended")
    rest = ProxyHeadersMiddleware(pages(front, aliases, cloud), ["127.0.0.1", "::1"])  # type: ignore[arg-type]
    config.app = McpHttp(front, sessions, ports, rest)  # type: ignore[arg-type]
    server.front, server.aliases = front, aliases
    front.metrics.gauges["connections"] = lambda: float(len(server.server_state.connections))
    front.metrics.gauges["open_calls"] = lambda: float(front.link.open)
    front.metrics.gauges["router_up"] = lambda: float(front.link.up)
    front.metrics.gauges["snapshot_version"] = lambda: float(front.snapshot.version)
    return server, aliases


def raise_file_limit() -> None:
    """As many descriptors as the hard limit allows: one a client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _machine_key(home: Home) -> bytes:
    """The key of all seals. A short, empty or readable one is refused: it would be no secret."""
    path = home.machine_key
    try:
        key = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as exc:
        raise StartError(f"{path}: {exc.strerror}; run `make up` (or the provision playbook) again") from exc
    if len(key) < 32 or len(set(key)) < 8:
        raise StartError(f"{path}: the machine key must be 32 random bytes; remove the file and run `make up` again")
    if mode & 0o077:
        raise StartError(f"{path}: others may read the machine key; chmod 600 it")
    return key
