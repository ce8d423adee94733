"""state.db: what the engine knows, in SQLite (WAL, synchronous=FULL: a committed step outlives a power cut).

Opened by the engine's main thread alone. SQL lies in `sql/`; the rows come back as the frozen classes below.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

ServerState = Literal["staged", "serving", "draining", "retired"]
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class StateError(Exception):
    """state.db cannot be used or cannot be written (a full disk); the message says which and what to do."""


@dataclass(frozen=True)
class Project:
    name: str
    created: float
    release: int
    commit_id: str
    numbered: int
    refused: str
    headline: str


@dataclass(frozen=True)
class Server:
    name: str
    project: str
    category: str
    port: int
    since: float


@dataclass(frozen=True)
class Release:
    project: str
    number: int
    commit_id: str
    subject: str
    manifest: str
    folder: str
    state: str
    at: float
    rollout: int


@dataclass(frozen=True)
class ServerRelease:
    server: str
    release: int
    project: str
    identity: str
    content_hash: str
    state: ServerState
    rollout: int
    route: dict[str, Any]
    """`registry.Release` fields that the plan and the gate found, and category, listen, description, port."""
    program: dict[str, Any]
    """The runner's table entry without its paths, and `reasons`, `env_dir`, `lock`."""

    @property
    def name(self) -> str:
        return f"{self.server}@{self.release}"


@dataclass(frozen=True)
class Rollout:
    id: int
    project: str
    commit_id: str
    old_commit: str
    who: str
    source: str
    options: list[str]
    stage: str
    release: int
    before: int
    plan: list[dict[str, Any]]
    started: float
    live_s: float | None
    finished: float | None
    error: dict[str, Any]
    moved: int
    playbook: dict[str, Any]


@dataclass(frozen=True)
class Key:
    id: str
    sha256: str
    project: str
    name: str
    created: float


def _load(name: str) -> str:
    return files(__package__).joinpath("sql", name).read_text(encoding="utf-8")


def _statements() -> dict[str, str]:
    parts = _NAME.split(_load("queries.sql"))[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


class State:
    """The database. Each call is one transaction unless it stands in `with state.transaction():`."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the database. Raises `StateError`."""
        self._sql = _statements()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_load("schema.sql"))
        except sqlite3.Error as exc:
            raise StateError(f"{path}: {exc}. Is the disk full, or the file another program's?") from exc
        path.chmod(0o600)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises `StateError` when the disk refuses, and then nothing has changed."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            self._undo()
            raise StateError(f"state.db: {exc}. Make room on the disk, then try again") from exc
        except BaseException:
            self._undo()
            raise

    def commit(self) -> None:
        """Commit the transaction that is open and begin an empty one: for a commit point inside its body."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def do(self, statement: str, **values: Any) -> int:
        """Run a named statement that changes something; the row id of what it added. Raises `StateError`."""
        try:
            return self._db.execute(self._sql[statement], values).lastrowid or 0
        except sqlite3.Error as exc:
            raise StateError(f"state.db: {statement}: {exc}") from exc

    def _rows(self, statement: str, **values: Any) -> list[sqlite3.Row]:
        return self._db.execute(self._sql[statement], values).fetchall()

    # settings
    def next_version(self) -> int:
        """Count the snapshot's version up by one."""
        rows = self._rows("get_setting", name="snapshot")
        version = (int(rows[0]["value"]) if rows else 0) + 1
        self.do("put_setting", name="snapshot", value=str(version))
        return version

    def at_least_version(self, version: int) -> None:
        """Never count below a snapshot that readers have already seen."""
        rows = self._rows("get_setting", name="snapshot")
        if (int(rows[0]["value"]) if rows else 0) < version:
            self.do("put_setting", name="snapshot", value=str(version))

    # projects and servers
    def projects(self) -> list[Project]:
        return [Project(**row) for row in self._rows("projects")]

    def project(self, name: str) -> Project | None:
        return next((Project(**row) for row in self._rows("project", name=name)), None)

    def servers(self) -> dict[str, Server]:
        return {row["name"]: Server(**row) for row in self._rows("servers")}

    def last_number(self, project: str, servers: list[str]) -> int:
        """The highest release number that the project, or any server that it wants, has ever had."""
        return int(self._rows("last_number", project=project, servers=json.dumps(servers))[0]["number"])

    # releases
    def releases(self, project: str) -> list[Release]:
        """Newest first."""
        return [Release(**row) for row in self._rows("releases", project=project)]

    def release(self, project: str, number: int) -> Release | None:
        rows = self._rows("release", project=project, number=number)
        return next((Release(**row) for row in rows), None)

    def release_servers(self, project: str, number: int) -> dict[str, int]:
        rows = self._rows("release_servers", project=project, number=number)
        return {row["server"]: row["release"] for row in rows}

    def server_releases(self, *, live: bool = True) -> list[ServerRelease]:
        """All that are not retired (`live`), or all."""
        rows = self._rows("live_server_releases" if live else "server_releases")
        return [_server_release(row) for row in rows]

    def server_release(self, server: str, release: int) -> ServerRelease | None:
        rows = self._rows("server_release", server=server, release=release)
        return next((_server_release(row) for row in rows), None)

    def forgotten(self) -> list[ServerRelease]:
        """Retired server-releases that no kept release of their project refers to."""
        return [_server_release(row) for row in self._rows("forgotten_server_releases")]

    def add_server_release(self, row: ServerRelease) -> None:
        values = {**row.__dict__, "route": json.dumps(row.route), "program": json.dumps(row.program)}
        self.do("add_server_release", **values)

    # rollouts and their events
    def rollout(self, number: int) -> Rollout | None:
        return next((_rollout(row) for row in self._rows("rollout", id=number)), None)

    def rollouts(self, project: str, limit: int = 50) -> list[Rollout]:
        """Newest first."""
        return [_rollout(row) for row in self._rows("rollouts", project=project, limit=limit)]

    def rollout_ids(self) -> set[int]:
        """Of all rollouts on record."""
        return {int(row["id"]) for row in self._rows("rollout_ids")}

    def open_rollouts(self) -> list[Rollout]:
        return [_rollout(row) for row in self._rows("open_rollouts")]

    def events(self, rollout: int, after: int = 0) -> list[dict[str, Any]]:
        return [json.loads(row["body"]) for row in self._rows("events", rollout=rollout, after=after)]

    # keys
    def api_keys(self) -> list[Key]:
        return [Key(**row) for row in self._rows("keys")]


def _server_release(row: sqlite3.Row) -> ServerRelease:
    values = dict(row)
    values["route"] = json.loads(values["route"])
    values["program"] = json.loads(values["program"])
    return ServerRelease(**values)


def _rollout(row: sqlite3.Row) -> Rollout:
    values = dict(row)
    for name in ("options", "plan"):
        values[name] = json.loads(values[name])
    for name in ("error", "playbook"):
        values[name] = json.loads(values[name]) if values[name] else {}
    return Rollout(**values)


def now() -> float:
    return time.time()
