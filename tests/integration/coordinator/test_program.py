"""The coordinator as a program: ports, aliases, several processes, keys that go, and leaving in order."""

import json
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from central_mcp.registry import read
from tests.waiting import SECOND, wait_until

from .clients import call, headers_for, http, initialize, request, websocket
from .cloud import PLAIN_TOOLS, Cloud, free_port
from .test_http import Stream
from .test_websocket import closed, text

END = 30 * SECOND


def test_a_port_that_another_program_has_is_refused_naming_it() -> None:
    with Cloud() as cloud, socket.create_server(("127.0.0.1", cloud.port), reuse_port=True):
        process = cloud.start_coordinator(wait=False)
        assert process.wait(END) == 1
        said = (cloud.root / "coordinator-0.err").read_text()
        assert f"port {cloud.port}" in said
        assert "CENTRAL_PORT" in said


def test_another_clouds_coordinator_is_another_program() -> None:
    with Cloud() as first, Cloud(port=first.port) as second:
        second.port = first.port
        first.serve("plain")
        first.start()
        process = second.start_coordinator(wait=False)
        assert process.wait(END) == 1
        assert http(first, message=call("plain__echo", text="x")).status == 200


def test_something_that_answers_like_nothing_known_is_another_program() -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status":"ok"}')

        def log_message(self, *_: object) -> None:
            pass

    with Cloud() as cloud, HTTPServer(("127.0.0.1", cloud.port), Stranger) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert cloud.start_coordinator(wait=False).wait(END) == 1
        finally:
            server.shutdown()


@pytest.mark.parametrize(("key", "mode"), [(b"", 0o600), (b"short", 0o600), (b"\0" * 32, 0o600), (b"", 0)])
def test_a_machine_key_that_is_no_secret_is_refused(key: bytes, mode: int) -> None:
    with Cloud() as cloud:
        cloud.home.machine_key.write_bytes(key)
        if mode == 0:
            cloud.home.machine_key.unlink()
        assert cloud.start_coordinator(wait=False).wait(END) == 1
        assert "machine.key" in (cloud.root / "coordinator-0.err").read_text()


def test_a_machine_key_that_others_can_read_is_refused() -> None:
    with Cloud() as cloud:
        cloud.home.machine_key.chmod(0o644)
        assert cloud.start_coordinator(wait=False).wait(END) == 1
        assert "chmod 600" in (cloud.root / "coordinator-0.err").read_text()


def test_several_coordinators_share_port_sessions_and_cursors() -> None:
    with Cloud(coordinators=3) as cloud:
        cloud.serve("plain")
        cloud.start()
        headers = headers_for(cloud, initialize()) | {"MCP-Protocol-Version": "2025-11-25"}
        session = http(cloud, message=initialize(), headers=headers).headers["Mcp-Session-Id"]
        headers |= {"Mcp-Session-Id": session}
        answered = set()

        def everybody_has_answered() -> bool:
            assert http(cloud, message=request("tools/list", modern=False), headers=headers).status == 200
            answered.add(http(cloud, "GET", "/ready").json["process"])
            return len(answered) == 3

        wait_until(everybody_has_answered, "an answer of each of three coordinators")
        assert http(cloud, "DELETE", headers=headers).status == 200
        statuses = {http(cloud, message=request("tools/list", modern=False), headers=headers).status for _ in range(20)}
        assert statuses == {404}


def test_killing_one_coordinator_leaves_the_others_serving_and_it_can_come_back() -> None:
    with Cloud(coordinators=2) as cloud:
        cloud.serve("plain")
        cloud.start()
        cloud.running[0].kill()
        cloud.running[0].wait()
        for number in range(20):
            assert http(cloud, message=call("plain__echo", number, text="x")).status == 200
        cloud.start_coordinator(0)
        assert http(cloud, message=call("plain__echo", text="x")).status == 200


def test_leaving_finishes_calls_and_tells_clients_to_come_back() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        process = cloud.running[0]
        with websocket(cloud) as busy, websocket(cloud) as idle:
            idle.send(request("subscriptions/listen", "sub", notifications={"toolsListChanged": True}))
            idle.receive()
            busy.send(call("plain__progress", meta={"progressToken": 1}, steps=4, every=0.25))
            busy.receive()
            process.send_signal(signal.SIGTERM)
            assert idle.receive()["result"]["resultType"] == "complete"
            assert closed(idle)[0] == 1012
            answers = [busy.receive() for _ in range(4)]
            assert text(answers[-1]) == "done"
            assert closed(busy)[0] == 1012
        assert process.wait(END) == 0


def test_leaving_does_not_wait_for_ever_for_a_call_that_hangs() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        with websocket(cloud) as client:
            client.send(call("plain__hang"))
            client.ask(call("plain__echo", 2, text="the other is under way"))
            cloud.running[0].send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.receive()
        assert cloud.running[0].wait(END) == 0


def test_a_revoked_key_ends_its_connections_and_only_those() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        with websocket(cloud) as gone, websocket(cloud, key=cloud.other_key) as stays:
            keys = read(cloud.home.registry).keys
            cloud.change(keys={"k2": keys["k2"]})
            assert closed(gone)[0] == 4401
            assert text(stays.ask(call("plain__echo", text="on"))) == "on"
        assert http(cloud, message=call("plain__echo", text="x")).status == 401


def test_aliases_follow_the_snapshot() -> None:
    with Cloud() as cloud:
        first, taken = free_port(), free_port()
        cloud.serve("plain", listen=True, port=first)
        cloud.start()

        def answers(port: int) -> bool:
            try:
                return http(cloud, message=call("echo", text="x"), port=port).status == 200
            except ConnectionError:
                return False

        wait_until(lambda: answers(first), "the alias")
        unknown = http(cloud, message=call("echo", text="x"), headers={"Content-Type": "application/json"}, port=first)
        assert unknown.status == 401
        assert http(cloud, path="/", message=call("echo", text="x"), port=first).status == 200
        assert http(cloud, path="/s/plain/mcp", message=call("echo", text="x"), port=first).status == 200
        with websocket(cloud, "/", url=f"ws://127.0.0.1:{first}") as client:
            assert text(client.ask(call("echo", text="x"))) == "x"
        with socket.create_server(("127.0.0.1", taken)):
            cloud.serve("second", listen=True, port=taken)
            wait_until(lambda: str(taken) in http(cloud, "GET", "/ready").body.decode(), "the problem in /ready")
            assert http(cloud, "GET", "/ready").status == 200
        servers = read(cloud.home.registry).servers
        cloud.change(servers={"plain": msgspec.structs.replace(servers["plain"], listen=False)})
        wait_until(lambda: not answers(first), "the alias closed")
        assert http(cloud, message=call("plain__echo", text="x")).status == 200


def test_every_coordinator_answers_on_an_alias() -> None:
    with Cloud(coordinators=2) as cloud:
        port = free_port()
        cloud.start()
        cloud.serve("plain", listen=True, port=port)
        log = cloud.home.log / "coordinator.log"
        wait_until(lambda: log.read_text().count("alias.open") == 2, "the alias open in both")
        cloud.running[0].kill()
        cloud.running[0].wait()
        for number in range(10):
            assert http(cloud, message=call("echo", number, text="x"), port=port).status == 200


def test_a_revoked_key_ends_its_event_streams() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        message = request("subscriptions/listen", "s", notifications={"toolsListChanged": True})
        stream = Stream(cloud, "POST", message, headers_for(cloud, message))
        assert stream.event()["method"] == "notifications/subscriptions/acknowledged"
        cloud.change(keys={})
        assert stream.event() is None
        stream.close()
        assert "library" not in (cloud.home.log / "coordinator.log").read_text()


def test_without_a_router_calls_fail_clearly_and_work_again_when_it_is_back() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        assert cloud.router is not None
        with websocket(cloud) as client:
            client.send(call("plain__hang", "lost"))
            client.ask(call("plain__echo", 2, text="the other is under way"))
            cloud.router.kill()
            cloud.router.wait()
            lost = client.receive()
            assert (lost["id"], lost["error"]["code"]) == ("lost", 50900)
            wait_until(lambda: http(cloud, "GET", "/ready").status == 503, "not ready")
            assert "router" in http(cloud, "GET", "/ready").body.decode()
            assert http(cloud, "GET", "/health").status == 200
            assert len(client.ask(request("tools/list", 3))["result"]["tools"]) == len(PLAIN_TOOLS)
            cloud.home.router_socket.unlink(missing_ok=True)
            cloud.start_router()
            assert text(client.ask(call("plain__echo", 4, text="back"))) == "back"


def test_a_broken_snapshot_is_refused_and_the_old_one_serves() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.start()
        whole = (cloud.home.registry / "snapshot.json").read_bytes()
        (cloud.home.registry / "snapshot.json").write_bytes(whole[: len(whole) // 2])
        log = cloud.home.log / "coordinator.log"
        wait_until(lambda: "snapshot.refused" in log.read_text(), "the refusal in the log")
        assert http(cloud, message=call("plain__echo", text="x")).status == 200


def test_a_server_without_a_serving_release_is_told_in_ready_and_its_calls_are_refused() -> None:
    with Cloud() as cloud:
        cloud.serve("plain")
        cloud.serve("idle")
        cloud.start()
        servers = dict(read(cloud.home.registry).servers)
        servers["idle"] = msgspec.structs.replace(servers["idle"], releases=())
        cloud.change(servers=servers)
        wait_until(lambda: "idle" in http(cloud, "GET", "/ready").body.decode(), "the server in /ready")
        answer = http(cloud, path="/s/idle/mcp", message=call("echo", text="x"))
        assert (answer.status, answer.json["error"]["code"]) == (503, 50300)
        names = [tool["name"] for tool in http(cloud, message=request("tools/list")).json["result"]["tools"]]
        assert not [name for name in names if name.startswith("idle__")]


def test_pages_of_a_long_list_join_to_the_whole() -> None:
    with Cloud() as cloud:
        tools = [{"name": f"t{number:04}", "inputSchema": {"type": "object"}} for number in range(2500)]
        cloud.serve("many", tools=tools)
        cloud.start()
        with websocket(cloud) as client, websocket(cloud, key=cloud.other_key) as other:
            names, cursor = [], None
            for number in range(3):
                page = client.ask(request("tools/list", number, **({"cursor": cursor} if cursor else {})))["result"]
                names += [tool["name"] for tool in page["tools"]]
                if cursor := page.get("nextCursor"):
                    assert other.ask(request("tools/list", number, cursor=cursor))["error"]["code"] == -32602
            assert names == [f"many__t{number:04}" for number in range(2500)]
            assert cursor is None


def test_log_lines_are_json_and_name_no_key(cloud: Cloud) -> None:
    lines = (cloud.home.log / "coordinator.log").read_text().splitlines()
    assert all(json.loads(line)["event"] for line in lines)
    assert cloud.key not in "".join(lines)
