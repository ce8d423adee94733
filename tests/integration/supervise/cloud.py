"""A home with a real keeper and supervisord in a short temporary folder, for tests; nothing of it survives the test."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from central_mcp.home import Home, Settings
from central_mcp.supervise import Configuration, Program, State, Supervisor, keeper, leftovers, render_main
from tests.integration.runner.started import MAIN, PYTHON
from tests.waiting import SECOND, wait_until


class Cloud:
    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        for path in (self.home.etc / "programs", self.home.etc / "runner", self.home.log / "servers"):
            path.mkdir(parents=True)
        settings = Settings.model_validate({"run": str(folder / "run"), "playbooks": "/"})
        (self.home.etc / "settings.json").write_text(settings.model_dump_json())
        for path in (self.home.run / "s", self.home.supervisor_socket.parent):
            path.mkdir(parents=True)
        (self.home.etc / "supervisord.conf").write_text(render_main(self.home))
        self.configuration = Configuration(self.home)
        self.supervisor = Supervisor(self.home.supervisor_socket)

    def program(self, name: str, script: str = "exec sleep 1000", **fields: Any) -> Program:
        argv = ("/bin/sh", "-c", script)
        log = self.home.log / f"{name}.out"
        return Program(
            **{"name": name, "argv": argv, "category": "core", "log": log, "stop_wait_s": 2, "start_s": 0, **fields}
        )

    def runner(self, name: str, script: str) -> Program:
        """The program of a runner whose one server is the shell `script`."""
        identity = f"{abs(hash(name)):012x}"[-12:]
        entry = {
            "id": identity,
            "name": name,
            "release": 1,
            "socket": str(self.home.server_socket(identity)),
            "status": str(self.home.server_status(identity)),
            "log": str(self.home.log / "servers" / f"{name}.log"),
            "argv": ["/bin/sh", "-c", script],
            "cwd": "/",
            "env": {"PATH": "/usr/bin:/bin"},
            "uids": [os.getuid()],
            "grace_s": 0.5,
        }
        table = self.home.runner_table(identity)
        table.write_text(json.dumps({"servers": [entry]}))
        argv = (PYTHON, "-I", "-S", str(MAIN), str(table))
        return Program(f"{name}@1", argv, "api", self.home.log / f"{name}.out")

    def socket_of(self, program: Program) -> Path:
        return self.home.server_socket(Path(program.argv[-1]).stem)

    def call(self, program: Program) -> socket.socket:
        """A connection to a runner's server, as soon as it can be had."""

        def connect() -> socket.socket | None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.socket_of(program)))
            except OSError:
                connection.close()
                return None
            connection.settimeout(20 * SECOND)
            return connection

        return wait_until(connect, f"{program.name} takes connections")

    def keep(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "central_mcp.supervise.keeper", "--home", str(self.home.root), "--detach"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60 * SECOND)

    def up(self, *programs: Program) -> None:
        self.configuration.put(programs)
        started = self.keep()
        assert started.returncode == 0, started.stderr
        self.running(*programs)

    def running(self, *programs: Program) -> list[int]:
        """Wait until all of them run; their pids."""

        def pids() -> list[int]:
            try:
                found = [process for program in programs for process in self.supervisor.processes(program.name)]
            except Exception:  # noqa: BLE001 - supervisord may be on its way; the wait is bounded
                return []
            return [process.pid for process in found] if all(p.state is State.RUNNING for p in found) else []

        return wait_until(pids, f"{[program.name for program in programs]} run") if programs else []

    def nothing_left(self) -> None:
        wait_until(lambda: not leftovers.marked(self.home), "no process of the home is left")
        assert keeper.running(self.home) is None

    def sockets(self) -> list[Path]:
        return [path for path in self.home.run.rglob("*") if path.is_socket()]


@contextmanager
def cloud() -> Iterator[Cloud]:
    folder = Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    made = Cloud(folder)
    try:
        yield made
    finally:
        keeper.stop(made.home)
        assert not leftovers.marked(made.home)
        shutil.rmtree(folder, ignore_errors=True)
