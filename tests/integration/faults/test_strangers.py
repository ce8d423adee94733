"""Hostile clients over the whole path: each gets a clear error or nothing, and the calls of others do not notice."""

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.cloud import Cloud
from tests.waiting import SECOND

from .caller import Busy, Caller, busy_project

HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "stranger", "version": "1"}},
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(watch_first=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Busy:
    return busy_project(cloud)


def dial(cloud: Cloud, key: str) -> ClientConnection:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = cloud.url.replace("http:", "ws:") + "/mcp"
    return connect(
        url, subprotocols=["mcp"], additional_headers=headers, compression=None, proxy=None, max_size=None,  # type: ignore[list-item]
        open_timeout=30 * SECOND, close_timeout=1,
    )  # fmt: skip


def ask(client: ClientConnection, message: Any) -> dict[str, Any]:
    client.send(message if isinstance(message, str) else json.dumps(message))
    return dict(json.loads(client.recv(timeout=30 * SECOND)))


def garbage(cloud: Cloud, key: str) -> None:
    with dial(cloud, key) as client:
        for text, code in (("garbage", -32700), ("[" * 5000, -32600), ("[]", -32600), ('{"jsonrpc":"1.0"}', -32600)):
            assert ask(client, text)["error"]["code"] == code
        assert "result" in ask(client, HELLO)


def unknown_method(cloud: Cloud, key: str) -> None:
    with dial(cloud, key) as client:
        ask(client, HELLO)
        assert ask(client, {"jsonrpc": "2.0", "id": 1, "method": "tools/destroy"})["error"]["code"] == -32601
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "no__such", "arguments": {}}}
        assert "no__such" in ask(client, call)["error"]["message"]


def too_large(cloud: Cloud, key: str) -> None:
    with dial(cloud, key) as client:
        client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "x" * (20 << 20)}}))
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.recv(timeout=30 * SECOND)
        assert client.close_code == 1009


def wrong_keys(cloud: Cloud, key: str) -> None:
    for wrong in ("", "cmk_000000000000_x", key[:-1] + ("a" if key[-1] != "a" else "b")):
        with pytest.raises(InvalidStatus) as refused:
            dial(cloud, wrong)
        assert refused.value.response.status_code == 401
        request = urllib.request.Request(f"{cloud.url}/mcp", json.dumps(HELLO).encode(), {"X-API-Key": wrong or "none"})
        with pytest.raises(urllib.error.HTTPError) as unheard:
            urllib.request.urlopen(request, timeout=30 * SECOND)
        assert unheard.value.code == 401
        unheard.value.close()


def never_reads(cloud: Cloud, key: str) -> None:
    """Asks for lists for ever without taking an answer, then hangs up."""
    with dial(cloud, key) as client:
        ask(client, HELLO)
        raw: socket.socket = client.socket
        raw.settimeout(2)
        try:
            for number in range(2000):
                client.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": {}}))
        except (TimeoutError, OSError, ConnectionClosed):
            pass
        raw.shutdown(socket.SHUT_RDWR)


def half_a_request(cloud: Cloud, key: str) -> None:
    """Many connections that never finish their first line."""
    address = ("127.0.0.1", int(cloud.settings["port"]))
    open_ones = [socket.create_connection(address, 10) for _ in range(200)]
    for each in open_ones:
        each.sendall(b"POST /mcp HT")
    for each in open_ones:
        each.close()


def binary_noise(cloud: Cloud, key: str) -> None:
    address = ("127.0.0.1", int(cloud.settings["port"]))
    for noise in (b"\x16\x03\x01" + b"\0" * 500, b"\xff" * 100_000, b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000):
        with socket.create_connection(address, 10) as client:
            client.settimeout(10)
            try:
                client.sendall(noise)
                client.recv(1000)
            except OSError:
                pass


STRANGERS = (garbage, unknown_method, too_large, wrong_keys, never_reads, half_a_request, binary_noise)


def test_hostile_clients_are_told_and_nobody_else_notices(cloud: Cloud, busy: Busy) -> None:
    key = cloud.key(busy.project.name)
    failures: list[str] = []

    def run(stranger: Any) -> None:
        try:
            stranger(cloud, key)
        except (Exception, pytest.fail.Exception) as exc:  # noqa: BLE001 - told in the test's own thread
            failures.append(f"{stranger.__name__}: {exc!r}")

    with Caller(cloud, busy) as caller:
        threads = [threading.Thread(target=run, args=(stranger,)) for stranger in STRANGERS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        caller.flows()
        assert caller.errors() == []
    assert failures == []
