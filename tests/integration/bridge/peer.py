"""A coordinator made of `websockets` for the bridge's tests: speaks enough MCP of both eras, and breaks when told to.

Runs in a thread of its own with one port for its whole life, so that it can go away and come back.
"""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

MODERN = "2026-07-28"
TOOLS: list[dict[str, Any]] = [
    {"name": "demo__echo", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "demo__once", "inputSchema": {"type": "object"}},
    {"name": "demo__hang", "inputSchema": {"type": "object"}},
    {"name": "demo__hang_safe", "inputSchema": {"type": "object"}, "annotations": {"idempotentHint": True}},
]
CAPABILITIES = {"tools": {"listChanged": True}, "prompts": {}}


class Peer:
    """`with Peer() as peer:` listens at `peer.url`. `seen` is every message with its connection's number."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.connections: list[ServerConnection] = []
        self.refuse: tuple[int, str] | None = None
        self.release = threading.Event()
        self.silent = False
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws{'s' if self.tls else ''}://127.0.0.1:{self.port}/mcp"

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.release.set()
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def start(self) -> "Peer":
        async def go() -> Server:
            return await serve(
                self._connection,
                "127.0.0.1",
                self.port,
                subprotocols=["mcp"],  # type: ignore[list-item]
                process_request=self._admit,
                max_size=64 << 20,
                ping_interval=None,
                ssl=self.tls,
            )

        self._server = self._run(go())
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection without a word."""

        async def go() -> None:
            if self._server is not None:
                self._server.close(close_connections=False)
                for connection in self.connections:
                    connection.transport.abort()
                await self._server.wait_closed()
                self._server = None

        self._run(go())

    def cut(self) -> None:
        """Cut the newest connection; go on listening."""
        connection = self.connections[-1]
        self._loop.call_soon_threadsafe(connection.transport.abort)

    def close(self, code: int) -> None:
        self._run(self.connections[-1].close(code))

    def freeze(self) -> None:
        """The newest connection stays open, but its peer is as good as dead: nothing is read, nothing is sent."""
        self._loop.call_soon_threadsafe(self.connections[-1].transport.pause_reading)

    def say(self, message: dict[str, Any] | str) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self._run(self.connections[-1].send(text))

    def methods(self, connection: int | None = None) -> list[str]:
        return [m.get("method", "answer") for n, m in list(self.seen) if connection in (None, n)]

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        if self.refuse is None:
            return None
        return connection.respond(*self.refuse)  # type: ignore[arg-type]

    async def _connection(self, connection: ServerConnection) -> None:
        number = len(self.connections)
        self.connections.append(connection)
        tasks = set()
        async for text in connection:
            message = json.loads(text)
            self.seen.append((number, message))
            if "method" in message and "id" in message and not self.silent:
                task = asyncio.ensure_future(self._answer(connection, message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()

    async def _answer(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        method, params = message["method"], message.get("params", {})
        modern = "_meta" in params and "io.modelcontextprotocol/protocolVersion" in params["_meta"]
        if method == "subscriptions/listen":
            meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
            ack = {"_meta": meta, "notifications": params["notifications"]}
            method = "notifications/subscriptions/acknowledged"
            await connection.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": ack}))
            return
        result = await self._result(method, params)
        if modern:
            result = {"resultType": "complete", **result}
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))

    async def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        info = {"name": "peer", "version": "7"}
        if method == "initialize":
            version = params["protocolVersion"]
            return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": info, "instructions": "hi"}
        if method == "server/discover":
            meta = {"io.modelcontextprotocol/serverInfo": info}
            hints = {"ttlMs": 0, "cacheScope": "private"}
            return {"supportedVersions": [MODERN, "2025-11-25"], "capabilities": CAPABILITIES, "_meta": meta, **hints}
        if method == "tools/list":
            return {"tools": TOOLS, "ttlMs": 0, "cacheScope": "private"}
        if method == "tools/call":
            if "hang" in params["name"]:
                await asyncio.get_running_loop().run_in_executor(None, self.release.wait, 60)
            text = params.get("arguments", {}).get("text", "")
            return {"content": [{"type": "text", "text": text}], "isError": False}
        return {}


def wait_for_message(peer: Peer, fits: Callable[[dict[str, Any]], bool]) -> Callable[[], bool]:
    return lambda: any(fits(message) for _, message in list(peer.seen))
