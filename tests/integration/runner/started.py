"""A real runner with one server, for tests: its socket, status, log and every process that comes of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import central_mcp
from tests.waiting import SECOND, wait_until

MAIN = Path(central_mcp.__file__).parent / "runner" / "main.py"
PYTHON = os.path.realpath(sys.executable)
IDENTITY = "0123456789ab"


class Started:
    """`with started(["/bin/sh", "-c", ...]) as runner`. Every process of the server can be told by `self.word`."""

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.folder = folder
        self.word = f"central-test-{uuid.uuid4().hex}"
        self.socket = folder / "s" / f"{IDENTITY}.sock"
        self.log = folder / "git.log"
        self.status_file = folder / f"{IDENTITY}.status"
        self.table = folder / "table.json"
        self.entry = {
            "id": IDENTITY,
            "name": "git",
            "release": 12,
            "socket": str(self.socket),
            "status": str(self.status_file),
            "log": str(self.log),
            "cwd": "/",
            "env": {"PATH": "/usr/bin:/bin"},
            "uids": [os.getuid()],
            "grace_s": 1.0,
            "limits": {"files": 256},
            "connections": 60,
            **entry,
        }
        self.entry["argv"] = [part.replace("WORD", self.word) for part in self.entry["argv"]]
        self.process: subprocess.Popen[bytes]

    def start(self, *others: dict[str, Any], prefix: tuple[str, ...] = ()) -> None:
        """Start it (below the command `prefix`), with further servers, and wait until it serves."""
        self.table.write_text(json.dumps({"servers": [self.entry, *others]}))
        before = self.status().get("runner")
        self.process = subprocess.Popen([*prefix, PYTHON, "-I", "-S", str(MAIN), str(self.table)])
        wait_until(lambda: self.status().get("runner", before) != before, "the runner's status file")

    @property
    def pid(self) -> int:
        """The runner's own, as it says itself."""
        return int(self.status()["runner"])

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20 * SECOND)
        connection.connect(str(self.socket))
        return connection

    def status(self) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {}
        return value

    def last(self, exits: int = 1) -> dict[str, Any]:
        """How the last process ended, once that many have."""
        wait_until(lambda: self.status()["exits"] >= exits, f"{exits} exits in the status file")
        value: dict[str, Any] = self.status()["last"]
        return value

    def processes(self) -> list[int]:
        """All living processes of the server, wherever they have gone: by WORD in their argv, or by their mark."""
        words = (self.word.encode(), f"CENTRAL_PROCESS={self.socket}:".encode())
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            except OSError:
                continue
            if not dead and any(word in text for word in words) and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def none_left(self) -> None:
        wait_until(lambda: not self.processes(), "no process of the server is left")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20 * SECOND)


@contextmanager
def started(argv: list[str], *, start: bool = True, **entry: Any) -> Iterator[Started]:
    folder = Path(tempfile.mkdtemp(prefix="cr-", dir="/tmp"))
    (folder / "s").mkdir()
    runner = Started(folder, {"argv": argv, **entry})
    try:
        if start:
            runner.start()
        yield runner
    finally:
        if hasattr(runner, "process"):
            if runner.process.poll() is None:
                runner.process.kill()
            runner.process.wait()
        for pid in runner.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
