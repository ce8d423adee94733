"""What the data plane reads, made from state.db and never the other way round: the snapshot, runner tables, programs.

One writer: `commit` holds the machine-wide flock for the milliseconds of one transaction and one rename. Nothing that a
full disk could stop stands between the two, so after any failure and any kill -9 the old state serves.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from .. import registry
from ..home import Home
from ..registry import Key, Release, Replica, Server, Snapshot
from ..supervise import Program
from .state import ServerRelease, State, StateError, now

RUNNER = Path(__file__).resolve().parent.parent / "runner" / "main.py"
log = structlog.get_logger("engine.publish")
ROUTE_FIELDS = frozenset(Release.__struct_fields__) - {"release", "state", "replica"}


class PublishError(Exception):
    """The new state could not be written; the old one is untouched."""


class Publisher:
    def __init__(self, home: Home, state: State) -> None:
        self._home = home
        self._state = state

    def commit(self, change: Callable[[], None] = lambda: None) -> int:
        """Run `change` (state.db statements), publish what follows from it; the snapshot's version. All or nothing.

        Raises `PublishError`.
        """
        try:
            with self._lock(), self._state.transaction():
                change()
                version = self._state.next_version()
                with registry.writing(self._home.registry, self.snapshot(version)):
                    self._state.commit()
        except (OSError, StateError) as exc:
            raise PublishError(f"the new state could not be written: {exc}") from exc
        return version

    def snapshot(self, version: int) -> Snapshot:
        """The registry snapshot that state.db stands for."""
        live: dict[str, list[ServerRelease]] = {}
        for row in self._state.server_releases():
            live.setdefault(row.server, []).append(row)
        projects = self._state.projects()
        return Snapshot(
            version=version,
            written=now(),
            servers={name: self._server(name, rows) for name, rows in live.items()},
            keys={k.id: Key(k.id, k.sha256, k.project, k.name, k.created) for k in self._state.api_keys()},
            projects={p.name: p.release for p in projects},
        )

    def _server(self, name: str, rows: list[ServerRelease]) -> Server:
        shown = next((row for row in rows if row.state == "serving"), rows[-1])
        route = shown.route
        return Server(
            name=name,
            project=shown.project,
            category=route["category"],
            port=route["port"],
            listen=route["listen"],
            description=route["description"],
            releases=tuple(self._release(row) for row in rows),
        )

    def _release(self, row: ServerRelease) -> Release:
        values = {name: value for name, value in row.route.items() if name in ROUTE_FIELDS}
        address = f"unix:{self._home.server_socket(row.identity)}"
        plain = {**values, "release": row.release, "state": row.state, "replica": Replica(address)}
        return msgspec.convert(plain, Release)

    def read_version(self) -> None:
        """Never publish a version that readers have seen already, even when state.db was put back from a backup."""
        try:
            self._state.at_least_version(registry.read(self._home.registry).version)
        except registry.RegistryError as exc:
            log.error("snapshot.unreadable", reason=str(exc))  # the next commit replaces it

    def remove_unfinished(self) -> list[str]:
        """What an engine that was killed while it wrote left beside its files; the names. Called before any write."""
        home, left = self._home, []
        for folder in (home.registry, home.registry / "tools", home.etc / "runner"):
            try:
                left += registry.remove_unfinished(folder)
            except OSError as exc:
                log.warning("unfinished.not_removed", folder=str(folder), reason=str(exc))
        return left

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._home.etc / "publish.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # runners

    def program(self, row: ServerRelease) -> Program:
        """The supervised runner of one server-release."""
        return Program(
            name=row.name,
            argv=(str(self._home.settings.python), "-I", "-S", str(RUNNER), str(self._home.runner_table(row.identity))),
            category=row.route["category"],
            log=self._home.log / "servers" / f"{row.server}.out",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )

    def table(self, row: ServerRelease) -> dict[str, Any]:
        """The runner's table of one server-release."""
        home = self._home
        entry = {
            "id": row.identity,
            "name": row.server,
            "release": row.release,
            "socket": str(home.server_socket(row.identity)),
            "status": str(home.server_status(row.identity)),
            "log": str(home.log / "servers" / f"{row.server}.log"),
            "uids": [os.getuid()],
            **{name: row.program[name] for name in ("argv", "cwd", "env", "grace_s", "limits", "connections")},
        }
        return {"servers": [entry]}

    def write_tables(self, rows: Iterable[ServerRelease]) -> None:
        """Put the runner tables in place, each only when it differs. Raises `OSError`."""
        for row in rows:
            path = self._home.runner_table(row.identity)
            data = json.dumps(self.table(row), indent=1).encode()
            if not path.exists() or path.read_bytes() != data:
                registry.write_atomic(path, data, 0o400)
