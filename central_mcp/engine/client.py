"""The client's end of the engine's socket: one JSON object a line, see `engine.server`.

Standard library only and quick to import: hooks, the CLI and the Ansible modules call it.
"""

import getpass
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONNECT_S = 5.0
"""Seconds for the connection itself. Answers may take as long as a rollout does."""


class EngineError(Exception):
    """The engine said no. `str()` is its one line; `hint` says what to do next."""

    def __init__(self, code: str, message: str, hint: str = "", **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.more = more


class EngineUnreachable(EngineError):
    """Nobody answers on the engine's socket, or the engine went away in the middle."""

    def __init__(self, socket_path: Path, why: str) -> None:
        super().__init__(
            "unreachable",
            f"the engine does not answer on {socket_path}: {why}",
            "start the cloud (`make up`), then look at `central status`; the engine's log is log/engine.log",
        )


def user() -> str:
    """The name of this process's user; its number where no name is known, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def find_socket(home: Path | None = None) -> Path:
    """The engine's socket of `home` (default: CENTRAL_HOME), read without the settings' model: that import is slow."""
    root = home or Path(os.environ["CENTRAL_HOME"])
    settings = json.loads((root / "etc" / "settings.json").read_bytes())
    return Path(settings["run"]) / "engine.sock"


class Engine:
    """One engine. Every request is a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, do: str, **args: Any) -> dict[str, Any]:
        """The `done` of one request; its events are dropped. Raises `EngineError`."""
        for message in self.stream(do, **args):
            if "done" in message:
                return dict(message["done"])
        raise EngineUnreachable(self.path, "it hung up before it answered")

    def stream(self, do: str, **args: Any) -> Iterator[dict[str, Any]]:
        """Each `{"event": ...}`, then the one `{"done": ...}`. Raises `EngineError`."""
        with self._connect() as connection:
            try:
                connection.sendall(json.dumps({"do": do, **args}).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    for line in lines:
                        message = json.loads(line)
                        if "error" in message:
                            raise EngineError(**message["error"])
                        yield message
                        if "done" in message:
                            return
            except OSError as exc:
                raise EngineUnreachable(self.path, exc.strerror or str(exc)) from exc
        raise EngineUnreachable(self.path, "it hung up before it answered")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(str(self.path))
            connection.settimeout(None)
        except OSError as exc:
            connection.close()
            raise EngineUnreachable(self.path, exc.strerror or str(exc)) from exc
        return connection
