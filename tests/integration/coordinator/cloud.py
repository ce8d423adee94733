"""A whole data plane in a temporary home, for tests: coordinators, router and runners as real processes.

`with Cloud() as cloud:` then `cloud.serve(...)`, `cloud.start()`. Everything is stopped at the end, also on failure.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from central_mcp.home import Home
from central_mcp.registry import Key, Release, Replica, Server, Snapshot, read, write, write_tools
from tests.peers import ROOT, SERVERS
from tests.waiting import wait_until

PLAIN = [sys.executable, "-I", "-S", str(SERVERS / "plain.py")]
SDK2 = [sys.executable, str(SERVERS / "sdk2.py")]
PLAIN_TOOLS = ("echo", "progress", "hang", "big", "changed")
CATEGORY = "dev-tools"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Cloud:
    """One temporary cloud. `url` and `key` once it is made."""

    def __init__(self, coordinators: int = 1, **settings: Any) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
        self.home = Home(self.root)
        self.port = free_port()
        self.coordinators = coordinators
        self._processes: list[subprocess.Popen[bytes]] = []
        self.running: list[subprocess.Popen[bytes]] = []
        self.router: subprocess.Popen[bytes] | None = None
        self.key = "cmk_k1_" + "s3cret" * 8
        self.other_key = "cmk_k2_" + "an0ther" * 8
        run = self.root / "run"
        for folder in ("run/s", "etc/runner", "log/servers", "registry/tools"):
            (self.root / folder).mkdir(parents=True)
        chosen = {"run": str(run), "port": self.port, "playbooks": str(ROOT / "playbooks"), **settings}
        (self.home.etc / "settings.json").write_text(json.dumps(chosen))
        self.home.machine_key.write_bytes(os.urandom(32))
        self.home.machine_key.chmod(0o600)
        keys = {
            "k1": Key("k1", hashlib.sha256(self.key.encode()).hexdigest(), "PROJECT_one"),
            "k2": Key("k2", hashlib.sha256(self.other_key.encode()).hexdigest(), "PROJECT_two"),
        }
        write(self.home.registry, Snapshot(version=1, keys=keys))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    # the registry, as the engine would write it

    def change(self, **changes: Any) -> Snapshot:
        old = read(self.home.registry)
        new = msgspec.structs.replace(old, version=old.version + 1, **changes)
        write(self.home.registry, new)
        return new

    def serve(
        self,
        name: str,
        argv: list[str] | None = None,
        *,
        tools: list[dict[str, Any]] | None = None,
        release: int = 1,
        listen: bool = False,
        port: int = 3350,
        **fields: Any,
    ) -> None:
        """Start a runner for a release of `name` and make that release the serving one."""
        identity = self.start_runner(name, release, argv or PLAIN)
        listed = (
            tools
            if tools is not None
            else [{"name": tool, "description": tool, "inputSchema": {"type": "object"}} for tool in PLAIN_TOOLS]
        )
        settings: dict[str, Any] = {
            "eras": ("legacy",), "capabilities": {"tools": {}}, "server_info": {"name": "plain", "version": "1"},
            "sessions": "shared", "replicas_max": 1, **fields,
        }  # fmt: skip
        made = Release(
            release, "serving", Replica(f"unix:{self.home.server_socket(identity)}"),
            tools=write_tools(self.home.registry, listed), **settings,
        )  # fmt: skip
        servers = dict(read(self.home.registry).servers)
        servers[name] = Server(name, "PROJECT_one", CATEGORY, port, listen, f"the {name} server", (made,))
        self.change(servers=servers)

    def start_runner(self, name: str, release: int, argv: list[str]) -> str:
        identity = hashlib.sha256(f"{name}@{release}".encode()).hexdigest()[:12]
        path = self.home.server_socket(identity)
        row = {
            "id": identity, "name": name, "release": release, "socket": str(path),
            "status": str(self.home.server_status(identity)), "log": str(self.home.log / "servers" / f"{name}.log"),
            "argv": argv, "cwd": str(self.root), "env": {"PATH": os.environ["PATH"]}, "uids": [os.getuid()],
            "grace_s": 1.0, "limits": {}, "connections": 60,
        }  # fmt: skip
        table = self.home.runner_table(identity)
        table.write_text(json.dumps({"servers": [row]}))
        table.chmod(0o400)
        main = ROOT / "central_mcp" / "runner" / "main.py"
        self.spawn(f"runner-{name}", [sys.executable, "-I", "-S", str(main), str(table)])
        wait_until(path.exists, f"the runner of {name}")
        return identity

    # programs

    def start(self) -> "Cloud":
        self.start_router()
        for number in range(self.coordinators):
            self.start_coordinator(number)
        return self

    def start_router(self) -> None:
        self.router = self.spawn("router", [sys.executable, "-m", "central_mcp.router"])
        wait_until(self.home.router_socket.exists, "the router's socket")

    def start_coordinator(self, number: int = 0, *, wait: bool = True) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "central_mcp.coordinator", "--process", f"coordinator-{number}"]
        process = self.spawn(f"coordinator-{number}", argv)
        self.running.append(process)
        if wait:
            wait_until(lambda: process.poll() is not None or self._answers(process), f"coordinator {number} ready")
            assert process.poll() is None, self.tail(f"coordinator-{number}")
        return process

    def spawn(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        env = {**os.environ, "CENTRAL_HOME": str(self.root), "PYTHONPATH": str(ROOT)}
        with (self.root / f"{name}.err").open("ab") as err:
            process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        self._processes.append(process)
        return process

    def tail(self, name: str) -> str:
        log = self.home.log / "coordinator.log"
        return (self.root / f"{name}.err").read_text() + (log.read_text() if log.exists() else "")

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        """It listens (its log says so) and what answers on the port is ready."""
        log = self.home.log / "coordinator.log"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        serves = any(line["event"] == "serving" and line.get("pid") == process.pid for line in lines)
        return serves and self._ready()

    def _ready(self) -> bool:
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.tail("coordinator-0") if (self.root / "coordinator-0.err").exists() else "")
        for process in reversed(self._processes):
            process.terminate()
        end = time.monotonic() + 15
        for process in self._processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
