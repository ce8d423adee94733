"""A client that never stops calling, through a real bridge: what it asked, what it was answered, what the servers did.

Every call carries a number of its own. Servers answer with it, and `write` also notes it in a file: so a test sees
calls that were answered twice, never, with another call's answer, or done twice.
"""

import collections
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cloud import Cloud, Project
from tests.integration.bridge.client import BridgeProcess
from tests.waiting import wait_until

PER_SECOND = 20
FIRST = 1000
SERVER = '''\
"""A legacy stdio server that answers many calls at once."""
import json, sys, threading, time

VERSION = "{version}"
TOOLS = [
    {{"name": "read", "inputSchema": {{"type": "object"}}, "annotations": {{"readOnlyHint": True}}}},
    {{"name": "write", "inputSchema": {{"type": "object"}}}},
]
speaking = threading.Lock()

def say(id, result, kind="result"):
    with speaking:
        print(json.dumps({{"jsonrpc": "2.0", "id": id, kind: result}}), flush=True)

def call(id, name, arguments):
    if name == "write":
        with open({effects!r}, "a") as file:
            file.write(str(arguments["n"]) + "\\n")
    time.sleep(arguments.get("seconds", 0.1))
    say(id, {{"content": [{{"type": "text", "text": f"{{VERSION}} {{arguments['n']}}"}}]}})

for line in sys.stdin:
    request = json.loads(line)
    method, params = request.get("method"), request.get("params") or {{}}
    if method == "initialize":
        info = {{"name": "busy", "version": VERSION}}
        result = {{"protocolVersion": "2025-06-18", "capabilities": {{"tools": {{}}}}, "serverInfo": info}}
        say(request["id"], result)
    elif method == "tools/list":
        say(request["id"], {{"tools": TOOLS}})
    elif method == "tools/call":
        what = (request["id"], params["name"], params["arguments"])
        threading.Thread(target=call, args=what, daemon=True).start()
    elif "id" in request:
        say(request["id"], {{"code": -32601, "message": "unknown method"}}, "error")
'''


def effects(cloud: Cloud) -> Path:
    return cloud.folder / "effects"


def busy_server(cloud: Cloud, version: str = "one") -> str:
    """The source of a server for `Caller`."""
    return SERVER.format(version=version, effects=str(effects(cloud)))


@dataclass(frozen=True)
class Busy:
    """A deployed project with `alpha` (shared) and `beta` (a process for each principal), and one principal's key."""

    project: Project
    key: str


def busy_project(cloud: Cloud, name: str = "PROJECT_busy", **settings: str) -> Busy:
    project = cloud.project(name)
    shared = "rollout: {watch: 1s}\nsessions: shared\nstart: always\nreplicas: {min: 1, max: 1}"
    for server in ("alpha", "beta"):
        project.write(f"{server}/server.py", busy_server(cloud))
    project.declare("alpha", "beta", alpha=shared, **settings)
    project.commit("busy servers")
    first = project.push("detach")
    assert first.code == 0, first.output
    return Busy(project, cloud.key(name))


@dataclass
class Call:
    number: int
    tool: str
    answers: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The answer's own words; empty while there is none or it is an error."""
        result = self.answers[0].get("result") if self.answers else None
        return str(result["content"][0]["text"]) if result else ""

    @property
    def error(self) -> dict[str, Any] | None:
        return self.answers[0].get("error") if self.answers else None


class Caller:
    """`with Caller(cloud, busy) as caller:` calls until the end; then `finish()` tells what became of each call."""

    def __init__(self, cloud: Cloud, busy: "Busy", *servers: str) -> None:
        self._cloud = cloud
        effects(cloud).unlink(missing_ok=True)
        names = servers or ("alpha", "beta")
        self._tools = [f"{name}__{tool}" for tool in ("read", "write") for name in names]
        url = cloud.url.replace("http:", "ws:") + "/mcp"
        self.bridge = BridgeProcess(url, PROJECT_NAME=busy.project.name, API_KEY=busy.key)
        self.calls: dict[int, Call] = {}
        self._seen = 0
        self._reading = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Caller":
        try:
            self.bridge.initialize("hello")
            self.bridge.request("tools", "tools/list", modern=False)
            self.bridge.answer("tools")
            self._thread.start()
            self.flows()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.bridge.__exit__()

    def _run(self) -> None:
        number = FIRST
        while not self._over.wait(1 / PER_SECOND):
            tool = self._tools[number % len(self._tools)]
            self.calls[number] = Call(number, tool, [])
            params = {"name": tool, "arguments": {"n": number}}
            self.bridge.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
            number += 1

    def read(self) -> None:
        """Give each answer that has come to its call."""
        with self._reading:
            new = self.bridge.lines[self._seen :]
            self._seen += len(new)
            for line in new:
                call = self.calls.get(line["id"]) if isinstance(line.get("id"), int) else None
                if call is not None:
                    call.answers.append(line)

    @property
    def asked(self) -> int:
        """The newest call's number."""
        return max(self.calls, default=FIRST)

    def under_way(self) -> set[int]:
        self.read()
        return {call.number for call in list(self.calls.values()) if not call.answers}

    def flows(self, calls: int = 8) -> None:
        """Wait until so many calls that are asked from now on have succeeded."""
        start = self.asked

        def enough() -> bool:
            self.read()
            return sum(bool(call.text) for call in list(self.calls.values()) if call.number > start) >= calls

        wait_until(enough, "calls to succeed", 60)

    def finish(self) -> list[Call]:
        """Stop asking, wait for the last answers. Exactly one answer each, the right one, nothing done twice."""
        self._over.set()
        self._thread.join()
        wait_until(lambda: not self.under_way(), "every call to be answered", 120)
        calls = list(self.calls.values())
        assert [call for call in calls if len(call.answers) != 1] == []
        assert [call for call in calls if call.text and call.text.split()[1] != str(call.number)] == []
        noted = effects(self._cloud)
        done = collections.Counter(noted.read_text().split() if noted.exists() else ())
        writes = [call for call in calls if call.tool.endswith("write")]
        assert [call for call in writes if done[str(call.number)] > 1] == [], "done twice"
        assert [call for call in writes if call.text and done[str(call.number)] != 1] == [], "answered, not done"
        noted.unlink(missing_ok=True)
        return calls

    def errors(self) -> list[Call]:
        """What `finish` found that did not succeed."""
        return [call for call in self.finish() if not call.text]
