"""Small raw clients for tests: WebSocket and HTTP, one message at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.waiting import SECOND

from .cloud import Cloud

PATIENCE = 30 * SECOND
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def request(
    method: str, id: Any = 1, *, modern: bool = True, meta: dict[str, Any] | None = None, **params: Any
) -> dict[str, Any]:
    whole = {**(ENVELOPE if modern else {}), **(meta or {})}
    if whole:
        params["_meta"] = whole
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def call(
    name: str, id: Any = 1, *, modern: bool = True, meta: dict[str, Any] | None = None, **arguments: Any
) -> dict[str, Any]:
    return request("tools/call", id, modern=modern, meta=meta, name=name, arguments=arguments)


def initialize(id: Any = 0, version: str = "2025-11-25") -> dict[str, Any]:
    info = {"name": "test", "version": "1"}
    return request("initialize", id, modern=False, protocolVersion=version, capabilities={}, clientInfo=info)


class Socket:
    """A WebSocket client that speaks JSON."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw

    def send(self, message: Any) -> None:
        self.raw.send(json.dumps(message))

    def receive(self) -> Any:
        return json.loads(self.raw.recv(PATIENCE))

    def ask(self, message: dict[str, Any]) -> Any:
        """Send and return the answer; nothing else may come before it."""
        self.send(message)
        answer = self.receive()
        assert answer.get("id") == message["id"], answer
        return answer


@contextmanager
def websocket(cloud: Cloud, path: str = "/mcp", key: str = "", **options: Any) -> Iterator[Socket]:
    headers = {"Authorization": f"Bearer {key or cloud.key}", **options.pop("headers", {})}
    url = options.pop("url", cloud.ws_url)
    settings = {"open_timeout": PATIENCE, "max_size": None, "compression": None, **options}
    with connect(url + path, additional_headers=headers, **settings) as raw:
        yield Socket(raw)


class Answer:
    """An HTTP response, read to its end."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages of an event stream."""
        lines = self.body.decode().splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def headers_for(cloud: Cloud, message: Any = None, **extra: str) -> dict[str, str]:
    """What a modern client sends with `message`."""
    headers = {"Accept": "application/json, text/event-stream", "X-API-Key": cloud.key}
    if message is not None:
        headers["Content-Type"] = "application/json"
        if "_meta" in message.get("params", {}):
            headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": message["method"]}
            if "name" in message["params"]:
                headers["Mcp-Name"] = message["params"]["name"]
    return {**headers, **{name.replace("_", "-"): value for name, value in extra.items()}}


def http(
    cloud: Cloud,
    method: str = "POST",
    path: str = "/mcp",
    message: Any = None,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    port: int = 0,
) -> Answer:
    connection = HTTPConnection("127.0.0.1", port or cloud.port, timeout=PATIENCE)
    try:
        data = json.dumps(message).encode() if body is None and message is not None else body
        connection.request(method, path, data, headers if headers is not None else headers_for(cloud, message))
        return Answer(connection.getresponse())
    finally:
        connection.close()
