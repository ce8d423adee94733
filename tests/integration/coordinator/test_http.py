"""MCP over Streamable HTTP: the ladder of the modern era, sessions of the legacy one, and who may come in."""

import json
import socket
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from tests.waiting import wait_until

from .clients import ENVELOPE, PATIENCE, Answer, call, headers_for, http, initialize, request
from .cloud import Cloud

NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LEGACY = {"MCP-Protocol-Version": "2025-11-25"}


def legacy(
    cloud: Cloud, message: Any = None, session: str = "", method: str = "POST", path: str = "/mcp", key: str = ""
) -> Answer:
    headers = headers_for(cloud, message) | LEGACY | {"X-API-Key": key or cloud.key}
    headers |= {"Mcp-Session-Id": session} if session else {}
    return http(cloud, method, path, message, headers=headers)


def opened(cloud: Cloud, path: str = "/mcp") -> str:
    answer = legacy(cloud, initialize(), path=path)
    assert answer.status == 200, answer.body
    return str(answer.headers["Mcp-Session-Id"])


# modern


def test_a_modern_call_is_answered_with_json_and_no_session(cloud: Cloud) -> None:
    answer = http(cloud, message=call("plain__echo", "a", text="hi"))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Mcp-Session-Id"] is None
    assert answer.json["id"] == "a"
    assert answer.json["result"]["content"][0]["text"] == "hi"
    assert answer.json["result"]["resultType"] == "complete"


def test_progress_turns_the_answer_into_an_event_stream(cloud: Cloud) -> None:
    answer = http(cloud, message=call("plain__progress", meta={"progressToken": 9}, steps=2))
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    *notes, last = answer.events
    assert [note["params"] for note in notes] == [{"progressToken": 9, "progress": n} for n in (0, 1)]
    assert last["result"]["content"][0]["text"] == "done"


def test_a_client_that_takes_no_streams_gets_the_answer_alone(cloud: Cloud) -> None:
    message = call("plain__progress", meta={"progressToken": 9}, steps=2)
    answer = http(cloud, message=message, headers=headers_for(cloud, message, Accept="application/json"))
    assert answer.json["result"]["content"][0]["text"] == "done"


CALL = call("plain__echo", 5, text="x")
MODERN = {"MCP-Protocol-Version": "2026-07-28"}
NO_CAPABILITIES = {key: value for key, value in ENVELOPE.items() if not key.endswith("Capabilities")}
FUTURE = request("tools/list", 5, meta={"io.modelcontextprotocol/protocolVersion": "2031-01-01"})
LADDER: dict[str, tuple[Any, dict[str, str], int, int | None]] = {
    "no such method": (request("no/such", 5), {}, 404, -32601),
    "a removed method": (request("ping", 5), {}, 404, -32601),
    "initialize in the modern era": (request("initialize", 5, protocolVersion="2026-07-28"), {}, 404, -32601),
    "unknown tool": (call("nobody__x", 5), {}, 400, -32602),
    "bad cursor": (request("tools/list", 5, cursor="x"), {}, 400, -32602),
    "no envelope": ({**CALL, "params": {"name": "plain__echo"}}, {"MCP-Protocol-Version": "2026-07-28"}, 400, -32602),
    "half an envelope": ({**CALL, "params": {**CALL["params"], "_meta": NO_CAPABILITIES}}, {}, 400, -32602),
    "other version in the header": (CALL, {"MCP-Protocol-Version": "2031-01-01"}, 400, -32020),
    "no version in the header": (CALL, {"MCP-Protocol-Version": ""}, 400, -32020),
    "other method in the header": (CALL, {"Mcp-Method": "tools/list"}, 400, -32020),
    "no method in the header": (CALL, {"Mcp-Method": ""}, 400, -32020),
    "other name in the header": (CALL, {"Mcp-Name": "plain__big"}, 400, -32020),
    "no name in the header": (CALL, {"Mcp-Name": ""}, 400, -32020),
    "broken name in the header": (CALL, {"Mcp-Name": "=?base64?!?="}, 400, -32020),
    "unknown version": (FUTURE, {"MCP-Protocol-Version": "2031-01-01"}, 400, -32022),
    "a batch": ([CALL], MODERN, 400, -32600),
    "a posted response": (
        {"jsonrpc": "2.0", "id": 5, "result": {}},
        {"MCP-Protocol-Version": "2026-07-28"},
        400,
        -32600,
    ),
    "other content type": (CALL, {"Content-Type": "text/plain"}, 415, -32600),
    "nothing acceptable": (CALL, {"Accept": "text/html"}, 406, -32600),
}


@pytest.mark.parametrize("name", LADDER)
def test_each_rung_of_the_ladder_has_its_answer(cloud: Cloud, name: str) -> None:
    message, changes, status, code = LADDER[name]
    headers = headers_for(cloud, message if isinstance(message, dict) else {}) | changes
    answer = http(cloud, message=message, headers={key: value for key, value in headers.items() if value})
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    if isinstance(message, dict) and status in (400, 404) and "result" not in message:
        assert answer.json["id"] == 5


def test_spaces_around_a_header_do_not_count(cloud: Cloud) -> None:
    assert http(cloud, message=CALL, headers=headers_for(cloud, CALL) | {"Mcp-Name": "  plain__echo  "}).status == 200


def test_a_mirrored_parameter_must_be_in_its_header(cloud: Cloud) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string", "x-mcp-header": "Text"}}}
    cloud.serve("mirror", tools=[{"name": "echo", "inputSchema": schema}], port=3355)
    wait_until(lambda: http(cloud, path="/s/mirror/mcp", message=request("tools/list")).status == 200, "the server")
    for path, prefix in (("/mcp", "mirror__"), ("/s/mirror/mcp", "")):
        message = call(f"{prefix}echo", text="x")
        for value, status in (("x", 200), ("y", 400), ("", 400)):
            headers = headers_for(cloud, message) | ({"Mcp-Param-Text": value} if value else {})
            assert http(cloud, path=path, message=message, headers=headers).status == status


def test_a_name_may_come_encoded_in_its_header(cloud: Cloud) -> None:
    headers = headers_for(cloud, CALL) | {"Mcp-Name": "=?base64?cGxhaW5fX2VjaG8=?="}
    assert http(cloud, message=CALL, headers=headers).status == 200


@pytest.mark.parametrize(
    ("body", "code"), [(b"garbage", -32700), (b"", -32700), (b"\xff", -32700), (b"[" * 99_999, -32600)]
)
def test_a_body_that_is_no_message_is_refused(cloud: Cloud, body: bytes, code: int) -> None:
    answer = http(cloud, headers=headers_for(cloud, CALL), body=body)
    assert (answer.status, answer.json["id"], answer.json["error"]["code"]) == (400, None, code)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_the_modern_era_takes_post_only(cloud: Cloud, method: str) -> None:
    headers = headers_for(cloud) | {"MCP-Protocol-Version": "2026-07-28"}
    assert http(cloud, method, headers=headers).status == 405


def test_a_notification_is_taken_and_dropped(cloud: Cloud) -> None:
    headers = headers_for(cloud, NOTE) | {"MCP-Protocol-Version": "2026-07-28"}
    answer = http(cloud, message=NOTE, headers=headers)
    assert (answer.status, answer.body) == (202, b"")


def test_a_body_over_the_limit_is_refused_before_it_is_read(cloud: Cloud) -> None:
    connection = HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE)
    connection.putrequest("POST", "/mcp")
    for name, value in (headers_for(cloud, CALL) | {"Content-Length": str(20 << 20)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = Answer(connection.getresponse())
    connection.close()
    assert (answer.status, answer.json["error"]["code"]) == (413, -32600)


def test_a_client_that_says_too_much_of_itself_is_refused_and_others_go_on(cloud: Cloud) -> None:
    message = call("plain__echo", text="x")
    message["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = {"name": "x" * 70_000, "version": "1"}
    answer = http(cloud, message=message, headers=headers_for(cloud, message))
    assert (answer.status, answer.json["error"]["code"]) == (400, -32602)
    assert http(cloud, message=call("plain__echo", text="x")).status == 200


def test_discover_names_both_eras(cloud: Cloud) -> None:
    found = http(cloud, message=request("server/discover")).json["result"]
    assert {"2026-07-28", "2025-11-25"} <= set(found["supportedVersions"])
    assert found["capabilities"] == {"tools": {"listChanged": True}}
    assert (found["ttlMs"], found["cacheScope"]) == (0, "private")
    own = http(cloud, path="/s/plain/mcp", message=request("server/discover")).json["result"]
    assert own["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "plain", "version": "1"}


class Stream:
    """An event stream that stays open."""

    def __init__(
        self, cloud: Cloud, method: str, message: Any, headers: dict[str, str], *, answers: bool = True
    ) -> None:
        """`answers`: its headers come at once; else wait for them with `answer`."""
        self.response: HTTPResponse | None = None
        self._connection = HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE)
        self._connection.request(method, "/mcp", json.dumps(message) if message else None, headers)
        if answers:
            self.answer()

    def answer(self) -> None:
        self.response = self._connection.getresponse()

    def event(self) -> Any:
        assert self.response is not None
        while True:
            line = self.response.readline().decode()
            if not line:
                return None
            if line.startswith("data: "):
                return json.loads(line[6:])

    def close(self) -> None:
        if self.response is not None:
            self.response.close()
        self._connection.close()


def test_a_listening_client_hears_of_changed_tools(cloud: Cloud) -> None:
    message = request("subscriptions/listen", "s", notifications={"toolsListChanged": True})
    stream = Stream(cloud, "POST", message, headers_for(cloud, message))
    try:
        assert stream.event()["method"] == "notifications/subscriptions/acknowledged"
        cloud.serve("heard", port=3353)
        heard = stream.event()
        assert heard["method"] == "notifications/tools/list_changed"
        assert heard["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s"}
    finally:
        stream.close()


def test_closing_the_response_cancels_the_call(cloud: Cloud) -> None:
    message = call("plain__hang")
    before = open_calls(cloud)
    sock = socket.create_connection(("127.0.0.1", cloud.port), PATIENCE)
    body = json.dumps(message).encode()
    lines = [f"{name}: {value}" for name, value in headers_for(cloud, message).items()]
    head = ["POST /mcp HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines, "", ""]
    sock.sendall("\r\n".join(head).encode() + body)
    wait_until(lambda: open_calls(cloud) > before, "the call under way")
    sock.close()
    wait_until(lambda: open_calls(cloud) == before, "the call cancelled")


def open_calls(cloud: Cloud) -> int:
    text = http(cloud, "GET", "/metrics").body.decode()
    line = next(line for line in text.splitlines() if line.startswith("central_open_calls{"))
    return int(float(line.rpartition(" ")[2]))


# legacy


def test_a_legacy_session_lists_and_calls(cloud: Cloud) -> None:
    session = opened(cloud)
    assert legacy(cloud, NOTE, session).status == 202
    tools = legacy(cloud, request("tools/list", 2, modern=False), session).json["result"]["tools"]
    assert "plain__echo" in [tool["name"] for tool in tools]
    answer = legacy(cloud, call("plain__echo", 3, modern=False, text="x"), session)
    assert (answer.status, answer.json["result"]) == (
        200,
        {"content": [{"type": "text", "text": "x"}], "isError": False},
    )


def test_an_unknown_version_gets_our_newest_legacy_one(cloud: Cloud) -> None:
    assert legacy(cloud, initialize(version="2030-01-01")).json["result"]["protocolVersion"] == "2025-11-25"
    assert legacy(cloud, initialize(version="2024-11-05")).json["result"]["protocolVersion"] == "2024-11-05"


def test_a_session_is_needed_and_must_be_known(cloud: Cloud) -> None:
    listing = request("tools/list", modern=False)
    assert legacy(cloud, listing).status == 400
    assert http(cloud, message=listing).status == 400
    assert legacy(cloud, listing, "unknown").status == 404
    assert legacy(cloud, method="GET").status == 400
    assert legacy(cloud, method="DELETE", session="unknown").status == 404


def test_a_deleted_session_is_unknown(cloud: Cloud) -> None:
    session = opened(cloud)
    assert legacy(cloud, session=session, method="DELETE").status == 200
    assert legacy(cloud, request("tools/list", modern=False), session).status == 404
    assert legacy(cloud, session=session, method="DELETE").status == 404


def test_the_end_of_a_session_ends_what_waits_in_it(cloud: Cloud) -> None:
    session = opened(cloud)
    before = open_calls(cloud)
    hanging = call("plain__hang", 7, modern=False)
    headers = headers_for(cloud, hanging) | LEGACY | {"Mcp-Session-Id": session}
    stream = Stream(cloud, "POST", hanging, headers, answers=False)
    try:
        wait_until(lambda: open_calls(cloud) > before, "the call under way")
        assert legacy(cloud, session=session, method="DELETE").status == 200
        stream.answer()
        assert stream.event() is None
        assert open_calls(cloud) == before
    finally:
        stream.close()


def test_a_stolen_session_or_cursor_reads_like_an_unknown_one(cloud: Cloud) -> None:
    session = opened(cloud)
    listing = request("tools/list", modern=False)
    stolen = legacy(cloud, listing, session, key=cloud.other_key)
    unknown = legacy(cloud, listing, "unknown", key=cloud.other_key)
    elsewhere = legacy(cloud, listing, session, path="/s/plain/mcp")
    assert stolen.status == unknown.status == elsewhere.status == 404
    assert stolen.body == unknown.body == elsewhere.body


def test_an_unknown_method_is_an_error_in_a_good_response(cloud: Cloud) -> None:
    answer = legacy(cloud, request("no/such", modern=False), opened(cloud))
    assert (answer.status, answer.json["error"]["code"]) == (200, -32601)


def test_a_legacy_client_can_cancel_a_call_by_another_post(cloud: Cloud) -> None:
    session, before = opened(cloud), open_calls(cloud)
    message = call("plain__hang", "h", modern=False)
    stream = HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE)
    stream.request(
        "POST", "/mcp", json.dumps(message), headers_for(cloud, message) | LEGACY | {"Mcp-Session-Id": session}
    )
    wait_until(lambda: open_calls(cloud) > before, "the call under way")
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "h"}}
    assert legacy(cloud, cancel, session).status == 202
    assert Answer(stream.getresponse()).events == []
    stream.close()
    assert open_calls(cloud) == before


def test_the_stream_of_a_session_tells_of_changed_tools(cloud: Cloud) -> None:
    headers = headers_for(cloud) | LEGACY | {"Mcp-Session-Id": opened(cloud)}
    stream = Stream(cloud, "GET", None, headers)
    try:
        assert stream.response.status == 200
        cloud.serve("streamed", port=3354)
        assert stream.event() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    finally:
        stream.close()


def test_a_log_level_lasts_as_long_as_its_session(cloud: Cloud) -> None:
    session = opened(cloud)
    assert legacy(cloud, request("logging/setLevel", modern=False, level="debug"), session).json["result"] == {}
    wrong = legacy(cloud, request("logging/setLevel", modern=False, level="loud"), session)
    assert wrong.json["error"]["code"] == -32602


# who may come in

ROUTES = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("POST", "/s/plain/mcp"), ("POST", "/s/nobody/mcp")]
STRANGERS = {
    "none": {"X-API-Key": ""},
    "garbage": {"X-API-Key": "garbage"},
    "wrong secret": {"X-API-Key": "cmk_k1_wrong"},
    "unknown id": {"X-API-Key": "cmk_k9_x"},
    "no bearer": {"X-API-Key": "", "Authorization": "Bearer "},
    "unsigned token": {"X-API-Key": "", "Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    "both, one wrong": {"Authorization": "Bearer wrong"},
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_comes_in_without_a_valid_key(cloud: Cloud, method: str, path: str, stranger: str) -> None:
    headers = {key: value for key, value in (headers_for(cloud, CALL) | STRANGERS[stranger]).items() if value}
    answer = http(cloud, method, path, CALL if method == "POST" else None, headers=headers)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert b"PROJECT" not in answer.body
    assert b"plain" not in answer.body


def test_a_bearer_key_works_as_well(cloud: Cloud) -> None:
    headers = headers_for(cloud, CALL) | {"Authorization": f"Bearer {cloud.key}"}
    del headers["X-API-Key"]
    assert http(cloud, message=CALL, headers=headers).status == 200


def test_a_key_of_another_project_is_told_so(cloud: Cloud) -> None:
    answer = http(cloud, message=CALL, headers=headers_for(cloud, CALL) | {"X-Central-Project": "PROJECT_two"})
    assert answer.status == 403
    assert "PROJECT_one" in answer.json["error"]["message"]
    assert (
        http(cloud, message=CALL, headers=headers_for(cloud, CALL) | {"X-Central-Project": "PROJECT_one"}).status == 200
    )


@pytest.mark.parametrize("path", ["/mcp", "/s/plain/mcp", "/health", "/ready", "/metrics", "/nowhere"])
@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_a_foreign_host_or_origin_is_forbidden_everywhere(cloud: Cloud, path: str, header: dict[str, str]) -> None:
    assert http(cloud, "GET", path, headers=headers_for(cloud) | header).status == 403


def test_an_unknown_server_or_path_is_not_found(cloud: Cloud) -> None:
    assert http(cloud, path="/s/nobody/mcp", message=CALL).status == 404
    assert http(cloud, "GET", "/nowhere").status == 404


def test_endless_headers_end_the_connection(cloud: Cloud) -> None:
    with socket.create_connection(("127.0.0.1", cloud.port), PATIENCE) as sock:
        sock.sendall(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n")
        received = b"none"
        try:
            for _ in range(2000):
                sock.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
            received = sock.recv(100)
        except OSError:
            received = b""
        assert received == b"" or received.startswith(b"HTTP/1.1 400")


def test_large_headers_are_refused(cloud: Cloud) -> None:
    assert http(cloud, "GET", headers=headers_for(cloud) | {"X-A": "a" * 20_000}).status == 431


# what is up


def test_health_and_ready_are_open_and_metrics_count(cloud: Cloud) -> None:
    health = http(cloud, "GET", "/health", headers={}).json
    assert health["status"] == "ok"
    assert health["targets"]["serving"] >= 3
    ready = http(cloud, "GET", "/ready", headers={})
    assert (ready.status, ready.json["ready"]) == (200, True)
    http(cloud, message=CALL)
    metrics = http(cloud, "GET", "/metrics").body.decode()
    assert 'central_call_seconds_count{process="coordinator-0",server="plain"}' in metrics


def test_names_and_metrics_are_not_for_strangers_behind_a_proxy(cloud: Cloud) -> None:
    stranger = {"X-Forwarded-For": "203.0.113.9"}
    assert http(cloud, "GET", "/metrics", headers=stranger).status == 401
    assert http(cloud, "GET", "/metrics", headers=stranger | {"X-API-Key": cloud.key}).status == 200
    for path in ("/health", "/ready"):
        assert b"plain" not in http(cloud, "GET", path, headers=stranger).body
