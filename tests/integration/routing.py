"""A small cloud for tests of the router: a temporary home, a real runner, a real router, its snapshot."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from central_mcp.home import Home
from central_mcp.link import Link
from central_mcp.protocol.frames import Head, Kind
from central_mcp.registry import Release, Replica, Server, Snapshot, write
from central_mcp.router.exits import identity
from tests.peers import ROOT, SERVERS
from tests.waiting import SECOND, wait_until

RUNNER = ROOT / "central_mcp" / "runner" / "main.py"


class Cloud:
    """`add` servers, `start`, connect with `link`; `stop` ends every process that was started."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cr"))
        for name in ("etc/runner", "run/s", "registry", "log/servers"):
            (self.folder / name).mkdir(parents=True)
        settings = {"run": str(self.folder / "run"), "playbooks": "/nowhere"}
        (self.folder / "etc" / "settings.json").write_text(json.dumps(settings))
        self.home = Home(self.folder)
        self.servers: dict[str, Server] = {}
        self.version = 0
        self.runners: dict[str, subprocess.Popen[bytes]] = {}
        self.router: subprocess.Popen[bytes] | None = None

    def add(self, name: str, *arguments: str, release: int = 1, runner: bool = True, **fields: Any) -> None:
        """A server-release run by `plain.py ARGUMENTS`, or by `argv=[...]`. Further fields are those of `Release`."""
        argv = fields.pop("argv", [sys.executable, "-I", "-S", str(SERVERS / "plain.py"), *arguments])
        number = identity(name, release)
        if runner:
            self._run(name, release, argv)
        entry = Release(
            release=release,
            state=fields.pop("state", "serving"),
            replica=Replica(address=f"unix:{self.home.server_socket(number)}"),
            **{"sessions": "shared", "call_s": 30.0 * SECOND, **fields},
        )
        old = self.servers.get(name)
        kept = () if old is None else tuple(r for r in old.releases if r.release != release)
        self.servers[name] = Server(name, "project", "dev-tools", 3350, releases=(*kept, entry))

    def change(self, name: str, release: int, **fields: Any) -> None:
        """Change fields of one release in the snapshot to come."""
        server = self.servers[name]
        releases = tuple(msgspec.structs.replace(r, **fields) if r.release == release else r for r in server.releases)
        self.servers[name] = msgspec.structs.replace(server, releases=releases)

    def drop(self, name: str, release: int) -> None:
        server = self.servers[name]
        releases = tuple(r for r in server.releases if r.release != release)
        self.servers[name] = msgspec.structs.replace(server, releases=releases)

    def publish(self) -> int:
        """Write the snapshot; its version."""
        self.version += 1
        write(self.home.registry, Snapshot(version=self.version, servers=dict(self.servers)))
        return self.version

    def start(self) -> None:
        """Publish, start the router, wait for its socket and the runners'."""
        self.publish()
        self.start_router()
        for name in self.runners:
            wait_until(self.home.server_socket(name).exists, f"the runner's socket {name}")

    def start_router(self) -> None:
        environment = {**os.environ, "CENTRAL_HOME": str(self.folder)}
        self.router = subprocess.Popen(
            [sys.executable, "-m", "central_mcp.router", "--instance", "main#1"], env=environment, cwd=ROOT
        )
        wait_until(self.home.router_socket.exists, "the router's socket")

    def kill_router(self) -> None:
        assert self.router is not None
        self.router.kill()
        self.router.wait()
        self.home.router_socket.unlink()

    @asynccontextmanager
    async def link(self, who: str = "coordinator", **options: Any) -> AsyncIterator[Link]:
        quiet: dict[str, Any] = {"on_note": lambda *_: None, "on_changed": lambda *_: None}
        link = await Link.connect(self.home.router_socket, who, **{**quiet, **options})  # type: ignore[arg-type]
        try:
            yield link
        finally:
            link.close()

    async def status(self, server: str = "") -> Any:
        async with self.link("engine") as engine:
            report = await engine.control("status")
        return report["servers"].get(server) if server else report

    def processes(self, name: str, release: int = 1) -> list[int]:
        """Pids that the runner's status file names."""
        try:
            status = json.loads(self.home.server_status(identity(name, release)).read_bytes())
        except OSError:
            return []
        return [child["pid"] for child in status["children"]]

    def log(self, name: str) -> str:
        path = self.folder / "log" / "servers" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def router_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log" / "router.log").read_text().splitlines()]

    def stop(self) -> None:
        started = [*([self.router] if self.router else []), *self.runners.values()]
        for process in started:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        end = time.monotonic() + 10 * SECOND
        for process in started:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, release: int, argv: list[str]) -> None:
        number = identity(name, release)
        row = {
            "id": number, "name": name, "release": release,
            "socket": str(self.home.server_socket(number)), "status": str(self.home.server_status(number)),
            "log": str(self.folder / "log" / "servers" / f"{name}.log"),
            "argv": [str(part) for part in argv], "cwd": str(self.folder),
            "env": {"PATH": os.environ["PATH"]}, "uids": [os.getuid()], "grace_s": 0.5,
            "limits": {"files": 1024, "memory": 0, "processes": 0}, "connections": 60,
        }  # fmt: skip
        table = self.home.runner_table(number)
        table.write_text(json.dumps({"servers": [row]}))
        self.runners[number] = subprocess.Popen([sys.executable, "-I", "-S", str(RUNNER), str(table)])


def tool(server: str, name: str, **head: Any) -> Head:
    return Head(Kind.CALL, method="tools/call", server=server, **head)


def body(name: str, **arguments: Any) -> bytes:
    return msgspec.json.encode({"name": name, "arguments": arguments})


async def call(link: Link, server: str, name: str, head: dict[str, Any] | None = None, **arguments: Any) -> str:
    """The text that the tool answers with. Raises `ProtocolError`."""
    result = await link.ask(tool(server, name, **(head or {})), body(name, **arguments))
    return str(msgspec.json.decode(result)["content"][0]["text"])


async def until(condition: Callable[[], Any], what: str, limit: float = 30.0) -> Any:
    """As `wait_until`, in a coroutine; `condition` may be a coroutine function."""
    end = asyncio.get_running_loop().time() + limit * SECOND
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < end, f"waited in vain for: {what} (last: {value!r})"
        await asyncio.sleep(0.02)


def story(cloud: Cloud, told: Callable[[], Awaitable[None]]) -> None:
    """Start the cloud, run `told`, stop the cloud whatever happens."""
    try:
        cloud.start()
        asyncio.run(_bounded(told))
    finally:
        cloud.stop()


async def _bounded(told: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(120 * SECOND):
        await told()
