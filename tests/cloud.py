"""A whole cloud for a test: a temporary home on a free port with keeper, supervisord, engine, router and coordinator.

`with Cloud.up() as cloud:` starts it and stops it whatever happens. Projects are work trees that push through the real
hooks; servers are small files run by the VM's own interpreter, so that nothing has to be installed.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central_mcp.engine.client import Engine, EngineError
from central_mcp.home import Home
from central_mcp.provision import home as provision_home
from central_mcp.provision import hooks, programs, service
from central_mcp.supervise import keeper

from .waiting import SECOND, wait_until

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FOLDERS = os.environ.get("CENTRAL_TEST_FOLDERS", "/tmp")
"""Where homes are made. Short, since paths of sockets have a limit."""
GIT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "tester",
    "GIT_AUTHOR_EMAIL": "tester@localhost",
    "GIT_COMMITTER_NAME": "tester",
    "GIT_COMMITTER_EMAIL": "tester@localhost",
}
SERVER = '''\
"""A legacy stdio server with one tool, standard library only."""
import json, sys

VERSION = "{version}"

def answer(request):
    method = request.get("method")
    if method == "initialize":
        return {{"protocolVersion": "2025-06-18", "capabilities": {{"tools": {{}}}},
                "serverInfo": {{"name": "{name}", "version": VERSION}}}}
    if method == "tools/list":
        return {{"tools": [{{"name": "echo", "inputSchema": {{"type": "object"}}}}]}}
    if method == "tools/call":
        return {{"content": [{{"type": "text", "text": VERSION}}]}}
    if method == "ping":
        return {{}}
    return None

for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        result = answer(request)
        body = {{"result": result}} if result is not None else {{"error": {{"code": -32601, "message": "no"}}}}
        print(json.dumps({{"jsonrpc": "2.0", "id": request["id"], **body}}), flush=True)
'''


def server_code(name: str = "echo", version: str = "one") -> str:
    """The source of a small server; its tool answers with `version`."""
    return SERVER.format(name=name, version=version)


@dataclass
class Push:
    code: int
    output: str
    seconds: float = 0.0


class Project:
    """A work tree with its remote in the cloud."""

    def __init__(self, cloud: "Cloud", name: str, folder: Path) -> None:
        self.cloud = cloud
        self.name = name
        self.folder = folder

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def declare(self, *servers: str, **more: str) -> None:
        """A central.yml with small servers of these names, each with its source; `more`: name -> extra YAML lines."""
        lines = ["central: 1", f"project: {self.name}", "servers:"]
        for name in servers:
            lines += [f"  {name}:", "    category: dev-tools", f"    source: ./{name}", "    run: [python, server.py]"]
            lines += [f"    {line}" for line in more.get(name, "rollout: {watch: 1s}").splitlines()]
            if not (self.folder / name / "server.py").exists():
                self.write(f"{name}/server.py", server_code(name))
        self.write("central.yml", "\n".join(lines) + "\n")

    def commit(self, subject: str = "a change") -> str:
        """Commit everything (an empty commit is fine); its id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD").strip()

    def push(self, *options: str, ref: str = "HEAD:refs/heads/main", timeout: float = 120.0) -> Push:
        """`git push`; what git said and its exit code."""
        command = ["git", "push", *(f"--push-option={o}" for o in options), "central", ref]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout * SECOND,
            check=False,
        )
        return Push(done.returncode, done.stdout)

    def start_push(self) -> "subprocess.Popen[str]":
        """A push in a session of its own, to be killed or waited for by the caller."""
        return subprocess.Popen(
            ["git", "push", "central", "HEAD:refs/heads/main"],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.folder, env=environment(), capture_output=True, text=True, check=True
        )
        return done.stdout

    def remote_head(self) -> str:
        """Where main points in the cloud; empty before the first push."""
        return self.git("ls-remote", "central", "refs/heads/main").partition("\t")[0]


class Cloud:
    """One running cloud. Use `Cloud.up()`."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.home = Home(folder / "h")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        self.settings = {
            "port": port,
            "coordinators": 1,
            "playbooks": str(ROOT / "playbooks"),
            "watch_first": 0.5,
            "gate": 20.0,
            "lock_wait": 60.0,
            **settings,
        }

    @classmethod
    @contextlib.contextmanager
    def up(cls, **settings: Any) -> "Iterator[Cloud]":
        """A provisioned, running cloud; stopped and removed at the end, also on failure."""
        folder = Path(tempfile.mkdtemp(prefix="c", dir=FOLDERS))
        cloud = cls(folder, settings)
        try:
            cloud.start()
            yield cloud
        finally:
            cloud.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def start(self) -> None:
        provision_home.prepare(self.home.root, self.settings)
        programs.configure(self.home, dict(os.environ))
        hooks.install(self.home, ROOT / "hooks")
        service.serve(self.home, timeout_s=60 * SECOND)

    def stop(self) -> None:
        if (self.home.etc / "settings.json").exists():
            keeper.stop(self.home)

    @property
    def engine(self) -> Engine:
        return Engine(self.home.engine_socket)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['port']}"

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self.engine.ask(do, **arguments)

    def project(self, name: str, *servers: str) -> Project:
        """A project with its repository and a work tree; with `servers`, declared and committed."""
        made = self.ask("project.create", name=name)
        folder = self.folder / "work" / name
        folder.mkdir(parents=True)
        project = Project(self, name, folder)
        project.git("init", "-q", "-b", "main")
        project.git("remote", "add", "central", made["remote"])
        if servers:
            project.declare(*servers)
            project.commit("the first commit")
        return project

    def key(self, project: str) -> str:
        return str(self.ask("key.create", project=project, name="test")["key"])

    def call(self, server: str, tool: str, key: str, **arguments: Any) -> dict[str, Any]:
        """One tools/call over `/s/<server>/mcp`: the `result`, or `{"error": ...}`. Opens a session of its own."""
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        session, _ = self._post(server, key, "", {"id": 1, "method": "initialize", "params": hello})
        self._post(server, key, session, {"method": "notifications/initialized"})
        params = {"name": tool, "arguments": arguments}
        _, answer = self._post(server, key, session, {"id": 2, "method": "tools/call", "params": params})
        return dict(answer["result"]) if "result" in answer else {"error": answer["error"]}

    def _post(self, server: str, key: str, session: str, message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **({"Mcp-Session-Id": session} if session else {}),
        }
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        request = urllib.request.Request(f"{self.url}/s/{server}/mcp", body, headers)
        with urllib.request.urlopen(request, timeout=30 * SECOND) as answer:
            text = answer.read().decode()
            session = answer.headers.get("Mcp-Session-Id") or session
        data = [line[5:] for line in text.splitlines() if line.startswith("data:")]
        found = json.loads(data[-1] if data else text or "{}")
        return session, found

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def server(self, name: str) -> dict[str, Any]:
        """The status entry of one server; empty when there is none."""
        return next((s for s in self.status()["servers"] if s["name"] == name), {})

    def program_pid(self, name: str) -> int:
        """The pid of a core program that runs now; waits for it."""

        def pid() -> int:
            try:
                found = [p for p in self.status()["programs"] if p["name"] == name and p["state"] == "running"]
            except EngineError:
                return 0
            return int(found[0]["pid"]) if found else 0

        return wait_until(pid, f"{name} to run")


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "ANSIBLE_", "CENTRAL_"))}
    return {**kept, **GIT_ENV, "LC_ALL": "C.UTF-8"}
