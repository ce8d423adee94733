"""TABLE.json: which servers a runner serves. Read once at start, checked field by field.

Pure but for reading the file. Written by the engine (0400, since it holds the environment).
"""

import os

from central_mcp.runner import small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_PATH_BYTES = 100


class TableError(Exception):
    """The table cannot be used; the message names file, server and field."""


class Limits:
    """What one connection's processes may use together; 0 is no limit."""

    __slots__ = ("files", "memory", "processes")

    def __init__(self, files: int, memory: int, processes: int) -> None:
        self.files = files
        self.memory = memory  # bytes
        self.processes = processes


class Entry:
    """One server of the table."""

    def __init__(self, row: "dict[str, Any]") -> None:
        take = _Taker(row)
        self.id: str = take("id", str)
        self.name: str = take("name", str)
        self.release: int = take("release", int)
        self.socket: str = take("socket", str)
        self.status: str = take("status", str)
        self.log: str = take("log", str)
        self.argv: list[str] = take.strings("argv")
        self.cwd: str = take("cwd", str)
        self.env: dict[str, str] = take("env", dict)
        self.uids: list[int] = take("uids", list)
        self.grace_s = float(take("grace_s", (int, float), 5.0))
        self.connections: int = take("connections", int, 60)
        limits = take("limits", dict, {})
        self.limits = Limits(*(_Taker(limits)(key, int, 0) for key in Limits.__slots__))
        self._check()

    def _check(self) -> None:
        if not self.argv:
            raise TableError("argv: is empty")
        if any(not isinstance(uid, int) for uid in self.uids):
            raise TableError("uids: must be numbers")
        texts = [*self.argv, *self.env, *self.env.values()]
        if any(not isinstance(text, str) or "\0" in text for text in texts):
            raise TableError("argv and env: must be texts without NUL")
        if any("=" in key or not key for key in self.env):
            raise TableError("env: a name is empty or holds '='")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES or not self.socket.endswith(".sock"):
            raise TableError(f"socket: {self.socket} must end in .sock and have at most {SOCKET_PATH_BYTES} bytes")
        if any(not os.path.isabs(path) for path in (self.socket, self.status, self.log, self.cwd)):
            raise TableError("socket, status, log and cwd: must be absolute paths")


class _Taker:
    """Takes fields out of a JSON object, or says what is wrong with which."""

    def __init__(self, row: "Any") -> None:
        if not isinstance(row, dict):
            raise TableError("must be an object")
        self._row = row

    def __call__(self, key: str, kind: "Any", default: "Any" = None) -> "Any":
        value = self._row.get(key, default)
        if value is None:
            raise TableError(f"{key}: is missing")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TableError(f"{key}: is a {type(value).__name__}")
        return value

    def strings(self, key: str) -> list[str]:
        values: list[str] = self(key, list)
        return values


def read_table(path: str) -> list[Entry]:
    """Raises `TableError`, also when the file cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            rows = small.loads(file.read())["servers"]
    except OSError as exc:
        raise TableError(f"{path}: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError) as exc:
        raise TableError(f"{path}: {exc!r} where {{'servers': [...]}} is expected") from None
    if not isinstance(rows, list) or not rows:
        raise TableError(f"{path}: 'servers' must list at least one server")
    entries = []
    for index, row in enumerate(rows):
        try:
            entries.append(Entry(row))
        except TableError as exc:
            raise TableError(f"{path}: servers[{index}]: {exc}") from None
    return entries
