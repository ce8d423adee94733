"""Requests to a server in its era, and what the answers of its handshake mean."""

import json
from typing import Any

import pytest

from central_mcp.protocol import back as wire
from central_mcp.protocol.errors import InvalidParams
from central_mcp.protocol.lines import parse

R = "io.modelcontextprotocol/"


def sent(line: bytes) -> Any:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_a_legacy_request_is_the_callers_own_params() -> None:
    assert sent(wire.request(3, "tools/call", b'{"name":"x"}')) == {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "tools/call",
        "params": {"name": "x"},
    }


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (b"", {}),
        (b"{}", {}),
        (b" { } ", {}),
        (b'{"name":"x"}', {"name": "x"}),
        (b'{\r\n "name" : "a\\nb"\n}', {"name": "a\nb"}),
        (b'{"name":"x","arguments":{"_meta":1}}', {"name": "x", "arguments": {"_meta": 1}}),
    ],
)
def test_a_token_is_stamped_and_the_rest_stays(params: bytes, expected: dict[str, Any]) -> None:
    found = sent(wire.request(9, "tools/call", params, wire.meta(modern=False, token=9)))["params"]
    assert found.pop("_meta") == {"progressToken": 9}
    assert found == expected


@pytest.mark.parametrize("old", ["{}", "{ }", '{"a":1}', "null", "7"])
def test_a_modern_stamp_joins_the_meta_that_is_there(old: str) -> None:
    params = f'{{"name":"x","_meta":{old}}}'.encode()
    stamp = wire.meta(modern=True, caps=b'{"roots":{}}', client=b'{"name":"c"}', log_level="info", token=4)
    meta = sent(wire.request(4, "tools/call", params, stamp))["params"]["_meta"]
    assert meta == {
        **({"a": 1} if "a" in old else {}),
        f"{R}protocolVersion": "2026-07-28",
        f"{R}clientCapabilities": {"roots": {}},
        f"{R}clientInfo": {"name": "c"},
        f"{R}logLevel": "info",
        "progressToken": 4,
    }


def test_a_caller_cannot_smuggle_a_token_or_a_method() -> None:
    params = b'{"\\u005fmeta":{"progressToken":1}}'
    assert sent(wire.request(2, "tools/call", params, wire.meta(modern=False, token=2)))["params"] == {
        "_meta": {"progressToken": 2}
    }
    method = 'x","id":99,"y":"'
    assert sent(wire.request(2, method, b"{}"))["method"] == method


@pytest.mark.parametrize("params", [b"[1]", b"7", b'"x"'])
def test_params_that_are_no_object_are_refused(params: bytes) -> None:
    with pytest.raises(InvalidParams):
        wire.request(1, "tools/call", params, wire.meta(modern=True))


@pytest.mark.parametrize(
    ("answer", "era"),
    [
        ({"result": {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {}}}, "modern"),
        ({"result": {"supportedVersions": ["2025-11-25"], "capabilities": {}}}, "legacy"),
        ({"result": {}}, "legacy"),
        ({"result": {"supportedVersions": 7}}, "legacy"),
        ({"error": {"code": -32022, "message": "", "data": {"supported": ["2026-07-28"]}}}, "modern"),
        ({"error": {"code": -32022, "message": "", "data": {"supported": ["2031-01-01"]}}}, "legacy"),
        ({"error": {"code": -32022, "message": "", "data": 3}}, "legacy"),
        ({"error": {"code": -32602, "message": "SDK v1"}}, "legacy"),
        ({"error": {"code": -32601, "message": "others"}}, "legacy"),
        ({"error": "nonsense"}, "legacy"),
    ],
)
def test_the_answer_to_discover_tells_the_era(answer: dict[str, Any], era: str) -> None:
    message = parse(json.dumps({"jsonrpc": "2.0", "id": 1, **answer}).encode())
    assert (wire.read_discover(message) is not None) == (era == "modern")


def test_a_discover_result_names_the_server_in_its_meta() -> None:
    result = {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "_meta": {f"{R}serverInfo": {"name": "s"}},
    }
    hello = wire.read_discover(parse(json.dumps({"id": 1, "result": result}).encode()))
    assert hello is not None
    assert (hello.serverInfo, hello.capabilities) == ({"name": "s"}, {"tools": {}})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": {"code": -32022, "message": "no"}}, "refused initialize: .*-32022"),
        ({"result": {"protocolVersion": "2031-01-01"}}, "protocol version .*2031-01-01"),
        ({"result": []}, "a result that is none"),
        ({}, "a result that is none"),
    ],
)
def test_an_initialize_that_did_not_work_says_what_came(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(wire.Refused, match=words):
        wire.read_initialize(parse(json.dumps({"id": 1, **answer}).encode()))


def test_a_listen_asks_for_what_the_server_offers() -> None:
    assert wire.listen(5, {"tools": {}, "prompts": {"listChanged": False}}) is None
    asked = sent(wire.listen(5, {"tools": {"listChanged": True}, "resources": {"listChanged": True}}) or b"")
    assert asked["params"]["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True}


def test_progress_is_parted_from_its_token() -> None:
    params = parse(b'{"method":"m","params":{"progress":1,"progressToken":7,"message":"x"}}').params
    assert wire.split_progress(params) == (7, b'{"progress":1,"message":"x"}')
    for bad in (b'{"method":"m"}', b'{"method":"m","params":[]}', b'{"method":"m","params":{"progressToken":{}}}'):
        assert wire.split_progress(parse(bad).params)[0] is None


def test_cancellation_names_the_backs_own_id() -> None:
    assert sent(wire.cancelled(8, 'a "reason"')) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 8, "reason": 'a "reason"'},
    }
