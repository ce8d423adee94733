"""The supervised runners of server-releases: put in place, taken away, brought in line with state.db.

A shell over `supervise`. One change at a time, since each reads and replaces the configuration.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import structlog

from ..home import Home
from ..rollout.errors import StartError
from ..supervise import Configuration, SuperviseError, Supervisor
from .publish import Publisher
from .state import ServerRelease

log = structlog.get_logger("engine.programs")

CORE = ("engine", "router", "coordinator")
"""Not ours to restart: provisioning does that."""
START_S = 15.0
"""Seconds a runner may take until it listens; it only binds a socket, so this is for a machine under load."""
POLL_S = 0.02
LOG_LINES = 20


class Programs:
    def __init__(self, home: Home, publisher: Publisher) -> None:
        self._home = home
        self._publisher = publisher
        self._configuration = Configuration(home)
        self._supervisor = Supervisor(home.supervisor_socket)
        self._lock = asyncio.Lock()

    async def add(self, rows: Sequence[ServerRelease]) -> None:
        """Start the runners of `rows` beside what runs. Raises `StartError`; then remove them."""
        try:
            async with self._lock:
                self._publisher.write_tables(rows)
                await asyncio.to_thread(self._put, rows)
        except (OSError, SuperviseError) as exc:
            raise StartError(f"its program could not be added: {exc}", server=rows[0].server) from exc

    async def remove(self, rows: Sequence[ServerRelease]) -> None:
        """Stop the runners and leave nothing of them: program, table, socket, status. Raises `StartError`."""
        if not rows:
            return
        try:
            async with self._lock:
                await asyncio.to_thread(self._drop, [row.name for row in rows])
        except (OSError, SuperviseError) as exc:
            raise StartError(f"its program could not be removed: {exc}", server=rows[0].server) from exc
        finally:
            for row in rows:
                self.remove_files(row.identity)

    async def reconcile(self, rows: Sequence[ServerRelease]) -> list[str]:
        """Make programs, tables, sockets and status files those of `rows` and no others; what was left over."""
        async with self._lock:
            self._publisher.write_tables(rows)
            left = await asyncio.to_thread(self._reconcile, rows)
        known = {row.identity for row in rows}
        return left + [identity for identity in self._identities() - known if self.remove_files(identity)]

    async def listening(self, row: ServerRelease) -> None:
        """Return when the runner of `row` accepts connections. Raises `StartError`."""
        end = asyncio.get_running_loop().time() + START_S
        while not self.status(row).get("listening"):
            if asyncio.get_running_loop().time() > end:
                raise StartError(
                    f"its runner does not listen after {START_S:.0f} s",
                    server=row.server,
                    log_tail=self._output(row),
                    hint="look at log/supervisord.log and log/servers",
                )
            await asyncio.sleep(POLL_S)

    def status(self, row: ServerRelease) -> dict[str, Any]:
        """The runner's own word on itself; empty while there is none."""
        try:
            return dict(json.loads(self._home.server_status(row.identity).read_bytes()))
        except (OSError, ValueError):
            return {}

    def log_tail(self, row: ServerRelease, offset: int) -> list[str]:
        """The last lines that the server wrote: of its last process, else of its log behind `offset`."""
        last = self.status(row).get("last") or {}
        lines = [str(line) for line in last.get("stderr") or []]
        kept = (line.split(" ", 2)[-1] for line in _lines_behind(self.log_path(row), offset))  # time, pid, text
        return (lines or list(kept))[-LOG_LINES:]

    def log_path(self, row: ServerRelease) -> Path:
        return self._home.log / "servers" / f"{row.server}.log"

    def remove_files(self, identity: str) -> bool:
        """Table, socket and status of one server-release, also half written by a runner that was killed."""
        home = self._home
        found = False
        socket, status = home.server_socket(identity), home.server_status(identity)
        made = (socket.with_suffix(".new"), status.with_name(f"{status.name}.new"))
        for path in (home.runner_table(identity), socket, status, *made):
            with contextlib.suppress(OSError):
                path.unlink()
                found = True
        return found

    def _identities(self) -> set[str]:
        home = self._home
        places = [
            *(home.etc / "runner").glob("*.json"),
            *(home.run / "s").glob("*"),
            *home.run.glob("*.status*"),
        ]
        return {path.name.split(".")[0] for path in places}

    def _output(self, row: ServerRelease) -> list[str]:
        return _lines_behind(self._home.log / "servers" / f"{row.server}.out", 0)[-LOG_LINES:]

    def _put(self, rows: Iterable[ServerRelease]) -> None:
        self._configuration.put([self._publisher.program(row) for row in rows])
        self._supervisor.apply(keep=CORE)

    def _drop(self, names: list[str]) -> None:
        self._configuration.remove(names)
        self._supervisor.apply(keep=CORE)

    def _reconcile(self, rows: Sequence[ServerRelease]) -> list[str]:
        wanted = {row.name for row in rows}
        left = [name for name, where in self._configuration.names().items() if where != "core" and name not in wanted]
        self._configuration.replace([self._publisher.program(row) for row in rows], keep=["core"])
        self._supervisor.apply(keep=CORE)
        return left


def _lines_behind(path: Path, offset: int) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(max(offset, size - (64 << 10)), size) if offset <= size else 0)
            return file.read(64 << 10).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def size_of(path: Path) -> int:
    """Bytes of a file that may not be there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
