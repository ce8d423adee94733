"""The bridge as a client sees it: start to first tools/list, memory, added latency, calls per second."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from loadgen import Template, cpu_ns
from results import Result, rss_kib
from websockets.sync.client import ClientConnection, connect

STARTS = 7
CALLS = 300
FLOOD = 5000
DEPTH = 32


class Stdio:
    """A bridge process and its two pipes."""

    def __init__(self, argv: list[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env))
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def send(self, *messages: bytes) -> None:
        self.stdin.write(b"".join(message + b"\n" for message in messages))
        self.stdin.flush()

    def answer(self) -> dict[str, object]:
        """The next answer; notifications are passed over."""
        while True:
            line = self.stdout.readline()
            if not line:
                raise ConnectionError("the bridge ended")
            message: dict[str, object] = json.loads(line)
            if "id" in message:
                return message

    def open(self) -> float:
        """Seconds from here to the answer of the first tools/list, as a legacy client opens."""
        began = time.perf_counter()
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.send(json.dumps({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params}).encode())
        self.answer()
        self.send(
            b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
            b'{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{}}',
        )
        answer = self.answer()
        if not answer.get("result"):
            raise ConnectionError(f"tools/list: {answer}")
        return time.perf_counter() - began

    def close(self) -> None:
        self.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()


def start_time(argv: list[str], env: Mapping[str, str]) -> float:
    """Median seconds from spawn to the first tools/list over `STARTS` fresh processes."""
    times = []
    for _ in range(STARTS):
        began = time.perf_counter()
        bridge = Stdio(argv, env)
        try:
            bridge.open()
            times.append(time.perf_counter() - began)
        finally:
            bridge.close()
    return statistics.median(times)


def one_by_one(template: Template, send: object, receive: object) -> float:
    """Median milliseconds of `CALLS` calls, each sent after the answer to the one before."""
    times = []
    for number in range(1, CALLS + 1):
        began = time.perf_counter()
        send(template.fill(number))  # type: ignore[operator]
        receive()  # type: ignore[operator]
        times.append(time.perf_counter() - began)
    return statistics.median(times[20:]) * 1000


def flood(bridge: Stdio, template: Template) -> float:
    """Calls per second with `DEPTH` open at any time; every id must be answered once."""
    waiting, sent = set(), 0
    began = time.perf_counter()
    while sent < FLOOD or waiting:
        while sent < FLOOD and len(waiting) < DEPTH:
            batch = range(100_000 + sent, 100_000 + min(FLOOD, sent + DEPTH - len(waiting)))
            bridge.send(*(template.fill(number) for number in batch))
            waiting.update(batch)
            sent += len(batch)
        waiting.remove(bridge.answer()["id"])
    return FLOOD / (time.perf_counter() - began)


def measure(url: str, key_file: Path, project: str, tool: str) -> list[Result]:
    """`url` ws://...; `key_file` holds the key; `tool` answers its argument `text`."""
    argv = [str(Path(sys.executable).parent / "central-mcp-bridge")]
    env = {
        "PATH": "/usr/bin:/bin",
        "CENTRAL_MCP_URL": url,
        "PROJECT_NAME": project,
        "CLIENT_ID": "bench",
        "API_KEY": f"file:{key_file}",
    }
    template = Template(tool, 300)
    start = start_time(argv, env)
    results = [Result("bridge: start to first tools/list", round(start, 3), "s", "0.25 s")]
    bridge = Stdio(argv, env)
    try:
        bridge.open()
        through = one_by_one(template, bridge.send, bridge.answer)
        with direct(url, key_file, project) as socket:
            straight = one_by_one(template, lambda text: socket.send(text, text=True), socket.recv)
        results.append(Result("bridge: memory", round(rss_kib(bridge.process.pid) / 1024, 1), "MiB RSS", "35 MB"))
        note = f"median through the bridge {through:.2f} ms, WebSocket alone {straight:.2f} ms"
        results.append(Result("bridge: added latency", round(through - straight, 3), "ms", "0.5 ms", note=note))
        before = cpu_ns([bridge.process.pid])
        rate = flood(bridge, template)
        cpu = (cpu_ns([bridge.process.pid]) - before) / 1000 / FLOOD
        results.append(Result("bridge: calls", round(rate), "calls/s", "3,000/s", f"{cpu:.0f} us/call"))
    finally:
        bridge.close()
    return results


def direct(url: str, key_file: Path, project: str) -> ClientConnection:
    headers = {"Authorization": f"Bearer {key_file.read_text().strip()}", "X-Central-Project": project}
    return connect(url, additional_headers=headers, subprotocols=["mcp"], compression=None)  # type: ignore[list-item]
