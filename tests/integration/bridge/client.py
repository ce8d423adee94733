"""The bridge as a real process, driven line by line: what a test wants to count, an SDK client would hide."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.waiting import SECOND

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def environment(url: str, **more: str) -> dict[str, str]:
    """What an MCP client would put into `env`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CENTRAL_", "API_", "CLIENT_"))}
    return {**env, "CENTRAL_MCP_URL": url, "PROJECT_NAME": "demo", "CLIENT_ID": "laptop", "API_KEY": "k-123", **more}


class BridgeProcess:
    """`with BridgeProcess(url) as bridge:`; `lines` holds every line of stdout so far, parsed."""

    def __init__(self, url: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "central_bridge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(url, **env),
        )
        self.lines: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.errors: list[str] = []
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "BridgeProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        for thread in self._threads:
            thread.join(30)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.raw.append(line)
                self.lines.append(json.loads(line))
                self._news.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.errors.append(line.decode())

    def send(self, message: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def request(self, id: int | str, method: str, modern: bool = True, **params: Any) -> None:
        if modern:
            params["_meta"] = META
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def call(self, id: int | str, tool: str, **arguments: Any) -> None:
        self.request(id, "tools/call", name=tool, arguments=arguments)

    def answers(self, id: int | str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line.get("id") == id and type(line["id"]) is type(id)]

    def answer(self, id: int | str, timeout: float = 30.0) -> dict[str, Any]:
        return self.line(lambda line: line.get("id") == id and type(line["id"]) is type(id), f"answer {id!r}", timeout)

    def line(self, fits: Callable[[dict[str, Any]], bool], what: str, timeout: float = 30.0) -> dict[str, Any]:
        """The first line that fits, waited for."""
        while True:
            for line in list(self.lines):
                if fits(line):
                    return line
            try:
                self._news.get(timeout=timeout * SECOND)
            except queue.Empty:
                text = f"no {what} in {timeout * SECOND:.0f} s; stdout {self.lines}, stderr {self.errors}"
                raise AssertionError(text) from None

    def initialize(self, id: int | str = 0, version: str = "2025-11-25") -> dict[str, Any]:
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self.send({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params})
        answer = self.answer(id)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer
