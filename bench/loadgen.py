#!/usr/bin/env python3
"""Open- and closed-loop load over many MCP WebSockets or HTTP connections, every answer checked.

Frames WebSockets by hand (masking key zero, which RFC 6455 allows), so that one request costs this process few
microseconds and the coordinator is what gets measured. In the open loop latency counts from the moment a request was
due, not from when it was sent, so a stalled coordinator cannot hide (coordinated omission).
Run it alone (`python bench/loadgen.py --help`) or through `bench/run.py`.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import ssl
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

HANDSHAKES_AT_ONCE = 100


class Answer(msgspec.Struct):
    id: int
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(Answer).decode


@dataclass
class Load:
    """What to send. `rate` None means closed loop: each connection keeps `depth` requests open."""

    url: str
    key: str
    tool: str
    connections: int = 64
    seconds: float = 5.0
    warmup_s: float = 1.0
    rate: float | None = None
    depth: int = 1
    size: int = 300
    project: str = ""
    watch_pids: dict[str, list[int]] = field(default_factory=dict)
    """Name -> process ids whose CPU time is read before and after the measured seconds."""


@dataclass
class Report:
    calls: int
    seconds: float
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    error_texts: dict[str, int]
    cpu_us_per_call: dict[str, float]
    load_average: float


def cpu_ns(pids: list[int]) -> int:
    """Nanoseconds on a CPU of all threads of `pids` (Linux schedstat)."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total


class Template:
    """A modern `tools/call` as JSON bytes, cut where the id and the text go: filling it in costs one concatenation."""

    def __init__(self, tool: str, size: int) -> None:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"name": tool, "arguments": {"text": "@"}, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": params}
        whole = json.dumps(message, separators=(",", ":")).encode()
        self.start, rest = whole.split(b"0,", 1)
        self.middle, self.end = (b"," + rest).split(b"@", 1)
        self.padding = b"x" * max(0, size - len(whole) - 16)

    def fill(self, call: int) -> bytes:
        return b"%b%d%b%08d%b%b" % (self.start, call, self.middle, call, self.padding, self.end)


def frame(payload: bytes) -> bytes:
    """A masked text frame (RFC 6455 section 5.2) with masking key 0."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65536:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class Client(asyncio.Protocol):
    """One WebSocket: handshake, then requests and their checked answers."""

    def __init__(self, load: Load, tally: "Tally", handshake: bytes) -> None:
        self.load, self.tally, self.handshake = load, tally, handshake
        self.buffer = bytearray()
        self.ready = asyncio.get_running_loop().create_future()
        self.open: dict[int, float] = {}
        self.next_id = 0
        self.transport: asyncio.WriteTransport | None = None
        self.template = Template(load.tool, load.size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        transport.write(self.handshake)  # type: ignore[attr-defined]

    def send(self, due: float) -> None:
        self.next_id += 1
        self.open[self.next_id] = due
        assert self.transport is not None
        self.transport.write(frame(self.template.fill(self.next_id)))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.ready.done():
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(self.buffer[: self.buffer.find(b"\r\n")])
            del self.buffer[: end + 4]
            if b" 101 " not in status:
                self.ready.set_exception(ConnectionError(status.decode()))
                return
            self.ready.set_result(None)
        self._frames()

    def _frames(self) -> None:
        buffer, at = self.buffer, 0
        while len(buffer) - at >= 2:
            size, head = buffer[at + 1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
            if len(buffer) - at < head + size:
                break
            opcode = buffer[at] & 15
            if opcode == 1:
                self._answer(bytes(buffer[at + head : at + head + size]))
            elif opcode == 9 and self.transport is not None:
                self.transport.write(b"\x8a\x80\0\0\0\0")
            at += head + size
        del buffer[:at]

    def _answer(self, text: bytes) -> None:
        now = time.perf_counter()
        answer = _decode(text)
        due = self.open.pop(answer.id, None)
        if due is None:
            self.tally.fail("an answer nobody waits for")
        elif bytes(answer.error):
            self.tally.fail(bytes(answer.error)[:120].decode(errors="replace"))
        elif b"%08d" % answer.id not in bytes(answer.result):
            self.tally.fail("the answer is not the echo of its request")
        else:
            self.tally.took(now - due)
        if self.load.rate is None and self.tally.running:
            self.send(time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed during the handshake"))
        elif self.tally.running:
            self.tally.fail("connection lost")


class Tally:
    def __init__(self) -> None:
        self.running = True
        self.counting = False
        self.latencies: deque[float] = deque()
        self.errors: dict[str, int] = {}

    def took(self, seconds: float) -> None:
        if self.counting:
            self.latencies.append(seconds)

    def fail(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


def handshake(load: Load) -> bytes:
    url = urlsplit(load.url)
    lines = [
        f"GET {url.path or '/mcp'} HTTP/1.1",
        f"Host: {url.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mcp",
        f"Authorization: Bearer {load.key}",
    ]
    if load.project:
        lines.append(f"X-Central-Project: {load.project}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def connect(load: Load, tally: Tally) -> list[Client]:
    """Open all connections, `HANDSHAKES_AT_ONCE` at a time. Raises `ConnectionError` with the refusal's status line."""
    url = urlsplit(load.url)
    tls = ssl.create_default_context() if url.scheme == "wss" else None
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < load.connections:
        batch = [
            loop.create_connection(lambda: Client(load, tally, handshake(load)), url.hostname, url.port, ssl=tls)
            for _ in range(min(HANDSHAKES_AT_ONCE, load.connections - len(clients)))
        ]
        made = [client for _, client in await asyncio.gather(*batch)]
        await asyncio.gather(*(client.ready for client in made))
        clients += made
    return clients


async def drive_open(load: Load, clients: list[Client], until: float) -> None:
    """Send each request when it is due, evenly over time and over the connections."""
    assert load.rate is not None
    interval, due, index = 1.0 / load.rate, time.perf_counter(), 0
    while due < until:
        now = time.perf_counter()
        while due <= now:
            clients[index % len(clients)].send(due)
            index += 1
            due += interval
        await asyncio.sleep(min(0.001, interval))


async def run(load: Load) -> Report:
    """Connect, warm up, measure, wait for the last answers, report."""
    tally = Tally()
    clients = await connect(load, tally)
    start = time.perf_counter()
    if load.rate is None:
        for client in clients:
            for _ in range(load.depth):
                client.send(time.perf_counter())
        driver: asyncio.Task[None] | None = None
    else:
        driver = asyncio.create_task(drive_open(load, clients, start + load.warmup_s + load.seconds))
    await asyncio.sleep(load.warmup_s)
    before = {name: cpu_ns(pids) for name, pids in load.watch_pids.items()}
    tally.counting, began = True, time.perf_counter()
    await asyncio.sleep(load.seconds)
    if driver is not None:
        await driver
    seconds = time.perf_counter() - began
    after = {name: cpu_ns(pids) for name, pids in load.watch_pids.items()}
    tally.running = False
    await settle(clients)
    tally.counting = False
    lost = sum(len(client.open) for client in clients)
    if lost:
        tally.errors["never answered"] = lost
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    return report(tally, seconds, before, after)


async def settle(clients: list[Client], timeout_s: float = 10.0) -> None:
    end = time.perf_counter() + timeout_s
    while any(client.open for client in clients) and time.perf_counter() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def report(tally: Tally, seconds: float, before: dict[str, int], after: dict[str, int]) -> Report:
    ordered = sorted(tally.latencies)
    calls = len(ordered)

    def at(share: float) -> float:
        return round(ordered[min(calls - 1, int(calls * share))] * 1000, 3) if ordered else float("nan")

    return Report(
        calls=calls,
        seconds=round(seconds, 2),
        per_s=round(calls / seconds, 1),
        p50_ms=at(0.5),
        p95_ms=at(0.95),
        p99_ms=at(0.99),
        max_ms=at(1.0),
        errors=sum(tally.errors.values()),
        error_texts=dict(sorted(tally.errors.items(), key=lambda item: -item[1])[:5]),
        cpu_us_per_call={name: round((after[name] - before[name]) / 1000 / max(1, calls), 1) for name in before},
        load_average=round(os.getloadavg()[0], 2),
    )


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="ws://127.0.0.1:3000/mcp")
    parser.add_argument("--key-file", type=Path, required=True, help="file that holds the API key")
    parser.add_argument("--tool", default="echo__echo", help="a tool that answers its argument `text`")
    parser.add_argument("-c", "--connections", type=int, default=64)
    parser.add_argument("-d", "--seconds", type=float, default=5.0)
    parser.add_argument("-w", "--warmup", type=float, default=1.0, help="seconds that do not count")
    parser.add_argument("-r", "--rate", type=float, help="calls/s in all (open loop); without it closed loop")
    parser.add_argument("-p", "--depth", type=int, default=1, help="open requests per connection, closed loop")
    parser.add_argument("-s", "--size", type=int, default=300, help="bytes of one request")
    args = parser.parse_args()
    raise_file_limit()
    load = Load(
        url=args.url,
        key=args.key_file.read_text().strip(),
        tool=args.tool,
        connections=args.connections,
        seconds=args.seconds,
        warmup_s=args.warmup,
        rate=args.rate,
        depth=args.depth,
        size=args.size,
    )
    print(json.dumps(asdict(uvloop.run(run(load))), indent=1))


if __name__ == "__main__":
    main()
