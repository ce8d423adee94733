"""The loopback aliases: 127.0.0.1:<port of a server with `listen: true`> answers as /s/<server>/mcp.

Follows the snapshot. A port that cannot be had is logged and shown in /ready; everything else goes on.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from central_mcp.registry import Snapshot

from .ports import BACKLOG, PortTaken, listen, one_at_a_time

LOOPBACK = "127.0.0.1"
AGAIN_S = 30.0
"""How long after a refusal a port is tried again."""
log = structlog.get_logger("aliases")


class Aliases:
    """Opens and closes listeners as servers come and go. `ports` is shared with http.py and ws.py."""

    def __init__(self, cloud: str, lock: Path, protocol: Callable[[], asyncio.Protocol]) -> None:
        """`lock`: a file that the coordinators of this cloud share."""
        self.ports: dict[int, str] = {}
        self.problems: dict[int, str] = {}
        self._cloud = cloud
        self._lock = lock
        self._protocol = protocol
        self._wanted: dict[int, str] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Aim at the ports of this snapshot."""
        self._wanted = {server.port: server.name for server in snapshot.servers.values() if server.listen}
        self._changed.set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="aliases")

    async def stop(self) -> None:
        """Stop accepting; connections go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for port in list(self._servers):
            self._close(port)

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            wanted = dict(self._wanted)
            for port in [port for port in self._servers if port not in wanted]:
                self._close(port)
            for port in [port for port in self.problems if port not in wanted]:
                del self.problems[port]
            for port, server in wanted.items():
                self.ports[port] = server
                if port not in self._servers:
                    await self._open(port, server)
            try:
                async with asyncio.timeout(AGAIN_S if self.problems else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _open(self, port: int, server: str) -> None:
        try:
            async with one_at_a_time(self._lock):
                sock = await listen(LOOPBACK, port, self._cloud)
                loop = asyncio.get_running_loop()
                self._servers[port] = await loop.create_server(self._protocol, sock=sock, backlog=BACKLOG)
        except (PortTaken, OSError) as exc:
            if port not in self.problems:
                log.warning("alias.refused", port=port, server=server, reason=str(exc))
            self.problems[port] = str(exc)
            self.ports.pop(port, None)
        else:
            self.problems.pop(port, None)
            log.info("alias.open", port=port, server=server)

    def _close(self, port: int) -> None:
        self._servers.pop(port).close()
        log.info("alias.closed", port=port, server=self.ports.pop(port, ""))
