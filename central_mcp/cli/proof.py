"""One real conversation through the real bridge: start it as a client would, list the tools, call one.

Speaks MCP by hand over the bridge's stdio, as any client of the legacy era; no SDK is needed for four messages.
"""

import contextlib
import json
import os
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import CliError

ANSWER_S = 60.0
"""Seconds for one answer; a first call may start the server's process."""


@dataclass(frozen=True)
class Proof:
    tool: str
    arguments: dict[str, Any]
    answer: str
    """The first text of the result, on one line."""

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.tool}({told}) -> {self.answer}"


class Conversation:
    """The bridge as a child. Use as a context manager; leaving it ends the child."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self._id = 0
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._child = subprocess.Popen(
            [entry["command"]],
            env={**os.environ, **entry["env"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._said: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._hear)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for reader in self._readers:
            reader.join()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout:
            for line in self._child.stdout:
                with contextlib.suppress(ValueError):
                    self._answers.put(json.loads(line))
        self._answers.put(None)

    def _hear(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr:
            self._said.extend(self._child.stderr)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message) + "\n")
            self._child.stdin.flush()
        except OSError as exc:
            raise self._failed(f"went away ({exc.strerror})") from exc

    def _failed(self, how: str) -> CliError:
        said = "".join(f"\n  | {line.rstrip()}" for line in self._said[-5:])
        return CliError(f"bridge: {how}{said}", "central doctor; central status")

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The `result` of one request. Raises `CliError` with the error's message."""
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while True:
            try:
                answer = self._answers.get(timeout=ANSWER_S)
            except queue.Empty:
                raise self._failed(f"no answer to {method} within {ANSWER_S:.0f} s") from None
            if answer is None:
                self._readers[1].join(5)  # its last words are under way
                raise self._failed(f"ended before it answered {method}")
            if answer.get("id") != self._id:
                continue
            if "error" in answer:
                raise CliError(f"{method} through the bridge: {answer['error'].get('message')}", "central doctor")
            return dict(answer["result"])

    def begin(self) -> None:
        me = {"name": "central", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": me})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def tools(self) -> list[dict[str, Any]]:
        """Every page of tools/list."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        while True:
            page = self.ask("tools/list", params)
            found += page["tools"]
            if not page.get("nextCursor"):
                return found
            params = {"cursor": page["nextCursor"]}

    def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """The first text of a tool's result. Raises `CliError` when the tool itself failed."""
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        texts = [part["text"] for part in result.get("content", []) if part.get("type") == "text"]
        told = " ".join(" ".join(texts).split())[:200]
        if result.get("isError"):
            raise CliError(f"{tool}: {told}", "central logs SERVER")
        return told


def prove(entry: dict[str, Any], wanted: list[tuple[str, dict[str, Any]]]) -> Proof:
    """Call the first tool of `wanted` that is listed, else any that needs no argument. Raises `CliError`."""
    with Conversation(entry) as bridge:
        bridge.begin()
        tools = bridge.tools()
        names = {tool["name"] for tool in tools}
        free: list[tuple[str, dict[str, Any]]] = [
            (t["name"], {}) for t in tools if not t.get("inputSchema", {}).get("required")
        ]
        choice = next((pick for pick in [*wanted, *free] if pick[0] in names), None)
        if choice is None:
            raise CliError(f"bridge: none of the {len(tools)} tools listed can be called without arguments")
        return Proof(*choice, bridge.call(*choice))


def bridge_command() -> Path:
    """The bridge beside this interpreter, or the one on PATH. Raises `CliError`."""
    import shutil
    import sys

    beside = Path(sys.executable).with_name("central-mcp-bridge")
    found = str(beside) if beside.exists() else shutil.which("central-mcp-bridge")
    if found is None:
        raise CliError("central-mcp-bridge: not installed beside this program", "make venv")
    return Path(found)
