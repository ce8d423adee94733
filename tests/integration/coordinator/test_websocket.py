"""MCP over WebSocket: both eras on one connection, and what a broken or hostile client gets."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.waiting import wait_until

from .clients import PATIENCE, Socket, call, initialize, request, websocket
from .cloud import Cloud

FUTURE = {"io.modelcontextprotocol/protocolVersion": "2031-01-01"}


def text(answer: Any) -> str:
    return str(answer["result"]["content"][0]["text"])


def closed(client: Socket) -> tuple[int, str]:
    """Read until the server closes; its code and reason."""
    try:
        while True:
            client.raw.recv(PATIENCE)
    except ConnectionClosed as exc:
        frame = exc.rcvd
    assert frame is not None, "no close frame came"
    return frame.code, frame.reason


def test_both_eras_work_on_one_connection(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        assert text(client.ask(call("plain__echo", "a", text="modern ü"))) == "modern ü"
        client.ask(initialize())
        assert "resultType" not in client.ask(request("tools/list", 2, modern=False))["result"]
        answer = client.ask(call("plain__echo", "a", modern=False, text="legacy"))
        assert (text(answer), "_meta" in answer["result"]) == ("legacy", False)
        assert client.ask(call("both__echo", 4, text="again"))["result"]["resultType"] == "complete"


def test_a_servers_own_endpoint_shows_the_server_itself(cloud: Cloud) -> None:
    with websocket(cloud, "/s/plain/mcp") as client:
        found = client.ask(request("server/discover"))["result"]
        assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "plain"
        names = [tool["name"] for tool in client.ask(request("tools/list"))["result"]["tools"]]
        assert "echo" in names
        assert text(client.ask(call("echo", text="x"))) == "x"


def test_ids_come_back_as_they_were_sent(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        for id in (7, "7", -1, "", "é\n"):
            assert client.ask(call("plain__echo", id, text="x"))["id"] == id


def test_progress_reaches_its_caller_under_the_callers_token(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.send(call("plain__progress", 1, meta={"progressToken": "tok"}, steps=2))
        notes = [client.receive(), client.receive()]
        assert [(note["params"]["progressToken"], note["params"]["progress"]) for note in notes] == [
            ("tok", 0),
            ("tok", 1),
        ]
        assert text(client.receive()) == "done"


def test_a_cancelled_call_is_never_answered_and_others_go_on(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.send(call("plain__hang", "h"))
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "h"}})
        assert text(client.ask(call("plain__echo", "e", text="on"))) == "on"
        assert text(client.ask(call("plain__echo", "h", text="free again"))) == "free again"


def test_the_same_id_twice_at_once_is_refused(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.send(call("plain__hang", 5))
        assert client.ask(call("plain__echo", 5, text="x"))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("sent", "code", "id"),
    [
        ("garbage", -32700, None),
        ('{"jsonrpc":"2.0","id":1', -32700, None),
        ("[]", -32600, None),
        ('{"jsonrpc":"2.0","id":3,"method":7}', -32600, 3),
        (json.dumps(request("no/such", 4)), -32601, 4),
        (json.dumps(request("prompts/list", 4)), -32601, 4),
        (json.dumps(call("nobody__echo", 5)), -32602, 5),
        (json.dumps(request("tools/list", 6, modern=False)), -32600, 6),
        (json.dumps(request("tools/list", 7, cursor="forged")), -32602, 7),
        (
            json.dumps(request("tools/list", 8, meta={"io.modelcontextprotocol/protocolVersion": "2031-01-01"})),
            -32022,
            8,
        ),
        (json.dumps(request("server/discover", 9, modern=False)), -32602, 9),
        ("[" * 100_000, -32600, None),
    ],
)
def test_a_wrong_message_gets_its_error_and_the_connection_goes_on(cloud: Cloud, sent: str, code: int, id: Any) -> None:
    with websocket(cloud) as client:
        client.raw.send(sent)
        answer = client.receive()
        assert (answer["error"]["code"], answer["id"]) == (code, id)
        assert text(client.ask(call("plain__echo", text="still here"))) == "still here"


def test_ping_is_answered_in_the_legacy_era_only(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        assert client.ask(request("ping", modern=False))["result"] == {}
        client.ask(initialize())
        assert client.ask(request("ping", modern=False))["result"] == {}
        assert client.ask(request("ping"))["error"]["code"] == -32601


def test_a_binary_frame_closes_with_1003(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.raw.send(b"\0")
        assert closed(client)[0] == 1003


def test_a_message_over_the_limit_gets_an_error_then_1009(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.raw.send("x" * (20 << 20))
        assert "too large" in client.receive()["error"]["message"]
        code, reason = closed(client)
        assert (code, "16777216" in reason) == (1009, True)


def test_fragments_over_the_limit_get_the_same(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        client.raw.send("x" * (1 << 20) for _ in range(17))
        assert "too large" in client.receive()["error"]["message"]
        assert closed(client)[0] == 1009


def test_a_flood_of_tiny_fragments_ends_the_connection(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        with contextlib.suppress(ConnectionClosed):  # while it still sends
            client.raw.send("x" for _ in range(100_000))
        assert closed(client)[0] == 1009


def test_a_message_in_fragments_is_put_together(cloud: Cloud) -> None:
    whole = json.dumps(call("plain__echo", text="in parts"))
    with websocket(cloud) as client:
        client.raw.send(iter([whole[:10], whole[10:50], whole[50:]]))
        assert text(client.receive()) == "in parts"


def test_a_large_result_arrives_whole(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        assert len(text(client.ask(call("plain__big", size=8 << 20)))) == 8 << 20


def test_compression_is_declined_and_the_subprotocol_is_agreed(cloud: Cloud) -> None:
    with websocket(cloud, compression="deflate", subprotocols=["mcp"]) as client:
        assert client.raw.protocol.extensions == []
        assert client.raw.subprotocol == "mcp"
    with websocket(cloud) as client:
        assert client.raw.subprotocol is None


def test_a_compressed_frame_that_was_not_agreed_on_is_a_protocol_error(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        plain = Frame(Opcode.TEXT, b"{}").serialize(mask=True)
        client.raw.socket.sendall(bytes([plain[0] | 0x40]) + plain[1:])  # RSV1: "compressed"
        assert closed(client)[0] == 1002


REFUSALS: dict[str, tuple[dict[str, str], str, int]] = {
    "no key": ({"Authorization": ""}, "/mcp", 401),
    "wrong key": ({"Authorization": "Bearer cmk_k1_wrong"}, "/mcp", 401),
    "key in the query only": ({"Authorization": ""}, "/mcp?key=KEY", 401),
    "another's project": ({"X-Central-Project": "PROJECT_two"}, "/mcp", 403),
    "foreign origin": ({"Origin": "http://evil.example"}, "/mcp", 403),
    "null origin": ({"Origin": "null"}, "/mcp", 403),
    "unknown server": ({}, "/s/nobody/mcp", 404),
    "unknown path": ({}, "/nowhere", 404),
    "unknown path without key": ({"Authorization": ""}, "/nowhere", 401),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_upgrade_is_refused_before_it_happens(cloud: Cloud, name: str) -> None:
    headers, path, status = REFUSALS[name]
    with pytest.raises(InvalidStatus) as caught, websocket(cloud, path.replace("KEY", cloud.key), headers=headers):
        pass
    assert caught.value.response.status_code == status


def upgrade(cloud: Cloud, sock: socket.socket, *lines: str) -> bytes:
    head = [
        "GET /mcp HTTP/1.1", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"X-API-Key: {cloud.key}", *lines, "", "",
    ]  # fmt: skip
    sock.sendall("\r\n".join(head).encode())
    return sock.recv(4096)


def handshake(cloud: Cloud, *lines: str) -> bytes:
    with socket.create_connection(("127.0.0.1", cloud.port), PATIENCE) as sock:
        return upgrade(cloud, sock, *lines)


def test_a_browsers_way_to_ask_for_an_upgrade_works(cloud: Cloud) -> None:
    answer = handshake(cloud, "Host: localhost", "Connection: keep-alive, Upgrade", "Origin: http://localhost:3000")
    assert answer.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("hosts", [["evil.example"], ["localhost", "localhost"], []])
def test_an_upgrade_for_a_foreign_host_is_forbidden(cloud: Cloud, hosts: list[str]) -> None:
    answer = handshake(cloud, *(f"Host: {host}" for host in hosts), "Connection: Upgrade")
    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_client_that_never_reads_costs_little_and_slows_nobody(cloud: Cloud) -> None:
    pid = cloud.running[0].pid
    with socket.socket() as slow, websocket(cloud) as other:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(1.0)
        slow.connect(("127.0.0.1", cloud.port))
        assert upgrade(cloud, slow, "Host: localhost", "Connection: Upgrade").startswith(b"HTTP/1.1 101 ")
        before = resident_kb(pid)
        taken = 0
        with contextlib.suppress(TimeoutError):  # it does not read us either, as it should
            for number in range(3000):
                message = json.dumps(call("plain__echo", number, text="x" * 60_000)).encode()
                slow.sendall(Frame(Opcode.TEXT, message).serialize(mask=True))
                taken = number
                if number % 50 == 0:
                    assert text(other.ask(call("both__echo", number, text="quick"))) == "quick"
        assert text(other.ask(call("both__echo", "last", text="quick"))) == "quick"
        grown = resident_kb(pid) - before
        assert taken < 2000, "the coordinator took everything"
        assert grown < 60_000, f"{grown} KB for one client that does not read"


def test_many_hostile_clients_leave_another_ones_calls_alone(cloud: Cloud) -> None:
    with websocket(cloud) as good:
        for number in range(5):
            with websocket(cloud) as bad:
                bad.raw.send("garbage")
                bad.raw.send(json.dumps(call("plain__hang")))
                assert text(good.ask(call("plain__echo", number, text="fine"))) == "fine"
                bad.raw.socket.close()
        assert text(good.ask(call("plain__echo", "end", text="fine"))) == "fine"


def test_calls_of_one_connection_are_answered_however_many_at_once(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        for number in range(500):
            client.send(call("plain__echo", number, text=str(number)))
        answers = [client.receive() for _ in range(500)]
        assert sorted(answer["id"] for answer in answers) == list(range(500))
        assert all(text(answer) == str(answer["id"]) for answer in answers)


def test_a_modern_client_hears_of_changed_tools_if_it_listens(cloud: Cloud) -> None:
    with websocket(cloud) as deaf, websocket(cloud) as client, websocket(cloud, "/s/plain/mcp") as own:
        filters = {"toolsListChanged": True, "promptsListChanged": True}
        for listener in (client, own):
            listener.send(request("subscriptions/listen", "sub", notifications=filters))
            ack = listener.receive()
            assert ack["method"] == "notifications/subscriptions/acknowledged"
            assert ack["params"]["notifications"] == {"toolsListChanged": True}
            assert ack["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "sub"
        cloud.serve("newcomer", port=3351)
        heard = client.receive()
        assert heard["method"] == "notifications/tools/list_changed"
        assert heard["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "sub"
        tools = client.ask(request("tools/list", 2))["result"]["tools"]
        assert "newcomer__echo" in [tool["name"] for tool in tools]
        assert text(client.ask(call("newcomer__echo", 3, text="new"))) == "new"
        own.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "sub"}})
        assert text(own.ask(call("echo", "sub", text="the id is free, nothing was heard"))).startswith("the id")
        assert text(deaf.ask(call("plain__echo", text="nothing was heard"))).startswith("nothing")


def test_a_legacy_client_hears_of_changed_tools_after_initialize(cloud: Cloud) -> None:
    with websocket(cloud) as client, websocket(cloud) as fresh:
        client.ask(initialize())
        cloud.serve("another", port=3352)
        assert client.receive() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        fresh.ask(initialize())


def test_what_a_server_says_of_its_own_lists_reaches_who_listens(cloud: Cloud) -> None:
    with websocket(cloud, "/s/plain/mcp") as client:
        client.send(request("subscriptions/listen", "sub", notifications={"toolsListChanged": True}))
        client.receive()
        client.send(call("changed", 2))
        methods = {client.receive().get("method"), client.receive().get("method")}
        assert methods == {"notifications/tools/list_changed", None}


def test_the_aggregate_shows_what_a_shared_server_lists_now(cloud: Cloud) -> None:
    cloud.serve("shifty", tools=[{"name": "changed", "inputSchema": {}}], port=3356)
    with websocket(cloud) as client:
        wait_until(lambda: "shifty__changed" in str(client.ask(request("tools/list"))), "the server")
        client.send(request("subscriptions/listen", "sub", notifications={"toolsListChanged": True}))
        client.receive()
        assert "shifty__echo" not in str(client.ask(request("tools/list", 1)))
        client.send(call("shifty__changed", 2))
        heard = [client.receive(), client.receive()]
        assert {message.get("method") for message in heard} == {"notifications/tools/list_changed", None}
        assert "shifty__echo" in str(client.ask(request("tools/list", 3)))
        assert text(client.ask(call("shifty__echo", 4, text="x"))) == "x"


def test_an_idle_connection_answers_pings(cloud: Cloud) -> None:
    with websocket(cloud) as client:
        assert client.raw.ping().wait(PATIENCE)
