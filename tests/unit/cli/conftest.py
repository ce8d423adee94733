"""A home without programs, and an engine's socket that answers what a test says."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from central_mcp.home import Home
from central_mcp.provision.home import prepare

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder:
        root = Path(folder) / "h"
        prepare(root, {"playbooks": "/nowhere", "port": 3999})
        monkeypatch.setenv("CENTRAL_HOME", str(root))
        yield Home(root)


class FakeEngine:
    """Answers each request with the messages listed under its `do`, and remembers the requests."""

    def __init__(self, path: Path, answers: Answers) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(os.fspath(path))
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as lines:
                request = json.loads(lines.readline())
                self.asked.append(request)
                for message in self._answers[request["do"]]:
                    lines.write(json.dumps(message).encode() + b"\n")
                lines.flush()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def engine(home: Home) -> Iterator[Callable[[Answers], FakeEngine]]:
    running: list[FakeEngine] = []

    def start(answers: Answers) -> FakeEngine:
        running.append(FakeEngine(home.engine_socket, answers))
        return running[-1]

    yield start
    for fake in running:
        fake.close()
