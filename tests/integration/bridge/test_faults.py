"""The real bridge process against a peer that breaks. Every test counts the answers: one for each id, never two."""

import json
import signal
import subprocess
import sys

import pytest

from tests.integration.bridge.client import BridgeProcess, environment
from tests.integration.bridge.peer import Peer, wait_for_message
from tests.waiting import wait_until

LIST_CHANGED = "notifications/tools/list_changed"


def is_list_changed(line: dict) -> bool:
    return line.get("method") == LIST_CHANGED


def test_it_presents_itself_with_headers_and_never_with_the_key_in_the_url():
    with Peer().start() as peer, BridgeProcess(peer.url, CENTRAL_LOG="debug") as bridge:
        bridge.request(1, "tools/list")
        assert len(bridge.answer(1)["result"]["tools"]) == 4
        (headers,) = peer.headers
        assert headers["authorization"] == "Bearer k-123"
        assert (headers["x-central-project"], headers["x-central-client"]) == ("demo", "laptop")
        assert headers["sec-websocket-protocol"] == "mcp"
        assert "k-123" not in "".join(bridge.errors)


def test_a_server_that_is_not_there_yet_is_waited_for():
    with Peer() as peer, BridgeProcess(peer.url) as bridge:
        answer = bridge.initialize()
        assert "connection refused" in answer["result"]["instructions"]
        bridge.request(1, "tools/list", modern=False)
        wait_until(lambda: any("connection refused" in line for line in bridge.errors), "a warning on stderr")
        assert bridge.answers(1) == []
        peer.start()
        assert len(bridge.answer(1)["result"]["tools"]) == 4
        bridge.line(is_list_changed, "list_changed")
        assert peer.methods()[:3] == ["initialize", "notifications/initialized", "tools/list"]
        assert len(bridge.answers(0)) == len(bridge.answers(1)) == 1


def test_waiting_ends_with_a_clear_error():
    with Peer() as peer, BridgeProcess(peer.url, CENTRAL_MCP_WAIT="0.5") as bridge:
        bridge.call(1, "demo__echo")
        error = bridge.answer(1)["error"]
        assert error["code"] == 50300
        assert peer.url in error["message"]
        assert "connection refused" in error["message"]


@pytest.mark.parametrize("cut", ["cut", "stop"])
def test_a_cut_answers_what_is_unknown_and_repeats_what_is_safe(cut: str):
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.request("tools", "tools/list")
        bridge.answer("tools")
        bridge.call(1, "demo__hang")
        bridge.call(2, "demo__hang_safe", text="again")
        wait_until(wait_for_message(peer, lambda m: m.get("id") == 2), "both calls at the peer")
        getattr(peer, cut)()
        error = bridge.answer(1)["error"]
        assert error["code"] == 50900
        assert "demo__hang" in error["message"]
        peer.release.set()
        if cut == "stop":
            peer.start()
        assert bridge.answer(2)["result"]["content"][0]["text"] == "again"
        bridge.call(3, "demo__echo", text="on")
        assert bridge.answer(3)["result"]["content"][0]["text"] == "on"
        assert [len(bridge.answers(id)) for id in (1, 2, 3)] == [1, 1, 1]
        assert sum(m.get("id") == 1 for _, m in peer.seen) == 1


def test_a_restart_that_says_so_is_followed_and_nobody_notices():
    with Peer().start() as peer, BridgeProcess(peer.url, CENTRAL_LOG="warning") as bridge:
        bridge.initialize()
        bridge.request(1, "tools/list", modern=False)
        bridge.answer(1)
        peer.close(1012)
        bridge.request(2, "tools/list", modern=False)
        bridge.answer(2)
        bridge.line(is_list_changed, "list_changed")
        assert peer.methods(1)[:2] == ["initialize", "notifications/initialized"]
        assert bridge.errors == []


def test_a_dead_peer_is_found_out():
    with Peer().start() as peer, BridgeProcess(peer.url, CENTRAL_MCP_KEEPALIVE="1") as bridge:
        bridge.request("tools", "tools/list")
        bridge.answer("tools")
        peer.silent = True
        bridge.call(1, "demo__once")
        wait_until(wait_for_message(peer, lambda m: m.get("id") == 1), "the call at the peer")
        peer.freeze()
        assert bridge.answer(1)["error"]["code"] == 50900
        peer.silent = False
        bridge.call(2, "demo__echo")
        bridge.answer(2)
        assert len(peer.connections) >= 2


def test_listens_come_back():
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.request("l-1", "subscriptions/listen", notifications={"toolsListChanged": True})
        bridge.line(lambda line: "acknowledged" in line.get("method", ""), "the acknowledgement")
        peer.cut()
        changed = bridge.line(is_list_changed, "list_changed")
        assert changed["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "l-1"}
        assert sum("acknowledged" in line.get("method", "") for line in bridge.lines) == 1


def test_a_refused_key_is_told_at_once_and_a_mended_one_is_used(tmp_path):
    key = tmp_path / "key"
    key.write_text("old\n")
    key.chmod(0o600)
    with Peer() as peer, BridgeProcess(peer.url, API_KEY=f"file:{key}") as bridge:
        peer.refuse = (401, '{"error":{"code":40100,"message":"unknown key"}}')
        peer.start()
        bridge.request(1, "tools/list")
        error = bridge.answer(1)["error"]
        assert error["code"] == 40100
        assert "unknown key" in error["message"]
        assert f"file:{key}" in error["message"]
        key.write_text("new\n")
        peer.refuse = None

        def works() -> bool:
            number = len(peer.headers) + 1000
            bridge.request(number, "tools/list")
            return "result" in bridge.answer(number)

        wait_until(works, "the new key is used", every=0.2)
        assert peer.headers[-1]["authorization"] == "Bearer new"


def test_a_wrong_project_is_told():
    with Peer() as peer, BridgeProcess(peer.url) as bridge:
        peer.refuse = (403, "the key belongs to another project")
        peer.start()
        bridge.request(1, "tools/list")
        error = bridge.answer(1)["error"]
        assert error["code"] == 40300
        assert "PROJECT_NAME (demo)" in error["message"]


def test_a_wrong_setting_is_told_to_the_client_and_on_stderr():
    with Peer() as peer, BridgeProcess(peer.url, API_KEY="${CENTRAL_NOT_SET}") as bridge:
        bridge.request(1, "server/discover")
        bridge.send({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": {}})
        assert [bridge.answer(id)["error"]["code"] for id in (1, 2)] == [40000, 40000]
        assert "CENTRAL_NOT_SET" in bridge.answer(2)["error"]["message"]
        wait_until(lambda: "CENTRAL_NOT_SET" in "".join(bridge.errors), "the reason on stderr")
        bridge.process.stdin.close()
        assert bridge.process.wait(30) == 2


def test_big_messages_pass_and_too_big_ones_are_told():
    text = "ü" * (4 << 20)
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        params = {"name": "demo__echo", "arguments": {"text": text}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        bridge.send(json.dumps(message, ensure_ascii=False).encode())
        assert bridge.answer(1, 60)["error"]["code"] == -32600  # the answer, escaped, has grown over the limit
        params["arguments"]["text"] = "x" * (15 << 20)
        bridge.send({**message, "id": 2})
        assert bridge.answer(2, 60)["result"]["content"][0]["text"] == params["arguments"]["text"]
        params["arguments"]["text"] = "x" * (17 << 20)
        bridge.send({**message, "id": 3})
        assert bridge.answer(3, 60)["error"]["code"] == -32600
        assert not wait_for_message(peer, lambda m: m.get("id") == 3)()
        bridge.call(4, "demo__echo")
        bridge.answer(4)


def test_garbage_is_answered_and_windows_line_ends_are_taken():
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.send(b"garbage")
        bridge.send(b'{"jsonrpc":"2.0","id":"7","method":"tools/list"}\r')
        assert len(bridge.answer("7")["result"]["tools"]) == 4
        assert bridge.lines[0]["error"]["code"] == -32700
        peer.say('{\n"jsonrpc":"2.0",\r\n"method":"notifications/message","params":{"data":"a\\nb"}}')
        bridge.line(lambda line: line.get("method") == "notifications/message", "the message")
        assert all(line.endswith(b"}\n") for line in bridge.raw)


def test_cancelling_reaches_the_peer_and_the_call_is_not_answered():
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.call(1, "demo__hang")
        wait_until(wait_for_message(peer, lambda m: m.get("id") == 1), "the call at the peer")
        bridge.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        wait_until(wait_for_message(peer, lambda m: m.get("method") == "notifications/cancelled"), "the cancellation")
        peer.release.set()
        bridge.call(2, "demo__echo")
        bridge.answer(2)
        assert bridge.answers(1) == []


def test_the_end_of_stdin_ends_it_cleanly():
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.request(1, "tools/list")
        bridge.process.stdin.close()
        assert bridge.process.wait(30) == 0
        wait_until(lambda: bridge.answers(1), "the answer to what was asked before")
        wait_until(lambda: peer.connections[0].close_code == 1000, "a clean close")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be caught")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_end_it_cleanly(name: str):
    with Peer().start() as peer, BridgeProcess(peer.url) as bridge:
        bridge.request(1, "tools/list")
        bridge.answer(1)
        bridge.process.send_signal(getattr(signal, name))
        assert bridge.process.wait(30) == 0
        wait_until(lambda: peer.connections[0].close_code == 1000, "a clean close")
        assert bridge.errors == []


def test_a_client_that_is_gone_ends_it():
    with Peer().start() as peer:
        process = subprocess.Popen(
            [sys.executable, "-m", "central_bridge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(peer.url),
        )
        try:
            process.stdout.close()
            process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
            process.stdin.flush()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdin.close()


def test_a_client_that_does_not_read_stops_the_flow_and_loses_nothing():
    with Peer().start() as peer:
        text = "z" * (1 << 20)
        with BridgeProcess(peer.url) as bridge:
            for id in range(40):
                bridge.call(id, "demo__echo", text=text)
            for id in range(40):
                assert len(bridge.answer(id, 60)["result"]["content"][0]["text"]) == 1 << 20
            assert all(len(bridge.answers(id)) == 1 for id in range(40))


def run(*arguments: str, url: str = "ws://127.0.0.1:9/mcp", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "central_bridge", *arguments],
        capture_output=True,
        text=True,
        env=environment(url, **env),
        timeout=60,
    )


def test_check_says_that_it_works_or_what_is_wrong():
    with Peer().start() as peer:
        good = run("--check", url=peer.url)
        assert (good.returncode, good.stderr) == (0, "")
        assert "4 tools" in good.stdout
        peer.refuse = (401, "unknown key")
        bad = run("--check", url=peer.url)
        assert bad.returncode == 1
        assert "HTTP 401" in bad.stdout
    away = run("--check", url=peer.url)
    assert away.returncode == 1
    assert "connection refused" in away.stdout
    unset = run("--check", API_KEY="${NOT_SET_AT_ALL}")
    assert unset.returncode == 2
    assert "NOT_SET_AT_ALL" in unset.stderr


def test_help_version_and_unknown_arguments():
    assert "CENTRAL_MCP_URL" in run("--help").stdout
    assert run("--version").stdout.startswith("central-mcp-bridge ")
    assert run("--verbose").returncode == 2
