"""Other programs that put a stdio server on the network, measured in the same run on the same echo server.

Each lives in an environment of its own under `.tools/peers`, made at the first run from PyPI. Their figure is CPU per
call of the proxy process alone, without the server behind it, as for ours.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from loadgen import cpu_ns
from results import Result

CALLS = 300
HERE = Path(__file__).parent
TOOLS = HERE.parent / ".tools" / "peers"
ECHO = [sys.executable, "-I", "-S", str(HERE / "fleet/servers/echo/echo.py")]
FASTMCP = """
import sys
from fastmcp.server import create_proxy
from fastmcp.client.transports import StdioTransport
create_proxy(StdioTransport(sys.argv[2], sys.argv[3:])).run("http", host="127.0.0.1", port=int(sys.argv[1]))
"""


def environment(name: str, *packages: str) -> Path:
    """Interpreter of an environment that holds `packages`. Raises `subprocess.CalledProcessError`."""
    python = TOOLS / name / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", str(TOOLS / name)], check=True)
        subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), *packages], check=True)
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Session:
    """A legacy Streamable HTTP client, no more than the calls need."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.headers["MCP-Protocol-Version"] = "2025-11-25"
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def post(self, message: dict[str, object]) -> bytes:
        self.connection.request("POST", "/mcp", json.dumps(message).encode(), self.headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.status >= 400:
            raise ConnectionError(f"{response.status}: {body[:200]!r}")
        session = response.getheader("mcp-session-id")
        if session:
            self.headers["mcp-session-id"] = session
        return body

    def echo(self, number: int) -> None:
        text = f"{number:08d}" + "x" * 150
        params = {"name": "echo", "arguments": {"text": text}}
        body = self.post({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        if text.encode() not in body:
            raise ConnectionError(f"not the echo: {body[:200]!r}")


def cpu_per_call(argv: list[str], port: int) -> tuple[float, float]:
    """(CPU us per call of the proxy, median ms) over `CALLS` calls one after the other."""
    proxy = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        session = first_session(port, proxy)
        for number in range(1, 31):
            session.echo(number)
        before, times = cpu_ns([proxy.pid]), []
        for number in range(100, 100 + CALLS):
            began = time.perf_counter()
            session.echo(number)
            times.append(time.perf_counter() - began)
        return (cpu_ns([proxy.pid]) - before) / 1000 / CALLS, sorted(times)[CALLS // 2] * 1000
    finally:
        proxy.terminate()
        try:
            proxy.wait(10)
        except subprocess.TimeoutExpired:
            proxy.kill()
            proxy.wait()


def first_session(port: int, proxy: subprocess.Popen[bytes]) -> Session:
    end = time.monotonic() + 60
    while True:
        try:
            return Session(port)
        except OSError:
            if proxy.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


def measure() -> list[Result]:
    """CPU per call of mcp-proxy and of FastMCP's proxy. A peer that cannot be had is left out and says so."""
    found = []
    for name, packages in (("mcp-proxy", ("mcp-proxy==0.12.0", "mcp<2")), ("fastmcp", ("fastmcp==4.1.2",))):
        port = free_port()
        try:
            python = environment(name, *packages)
            if name == "mcp-proxy":
                proxy = str(python.parent / "mcp-proxy")
                argv = [
                    proxy,
                    "--port",
                    str(port),
                    "--transport",
                    "streamablehttp",
                    "--log-level",
                    "ERROR",
                    "--",
                    *ECHO,
                ]
            else:
                argv = [str(python), "-c", FASTMCP, str(port), *ECHO]
            cpu, median = cpu_per_call(argv, port)
        except (OSError, subprocess.CalledProcessError, http.client.HTTPException) as exc:
            found.append(Result(f"peer {name}: CPU per call", float("nan"), "us", note=f"not measured: {exc}"))
            continue
        found.append(
            Result(f"peer {name}: CPU per call", round(cpu), "us", note=f"median {median:.1f} ms, HTTP, {packages[0]}")
        )
    return found
