"""Results as either era's clients see them."""

import json
from typing import Any

import pytest

from central_mcp.protocol.errors import InternalError, InvalidRequest
from central_mcp.protocol.results import adapt

INFO = b'{"name":"central-mcp"}'
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def shown(result: Any, method: str = "tools/call", *, era: str, back: str, version: str = "2025-11-25") -> Any:
    return json.loads(adapt(json.dumps(result).encode(), method, era, version, back, INFO))


def test_a_legacy_result_reaches_a_legacy_client_byte_for_byte() -> None:
    body = b'{"content": [ {"type":"text","text":"a"} ],"x":1.0}'
    assert adapt(body, "tools/call", "legacy", "2025-06-18", "legacy", INFO) is body


def test_a_modern_client_gets_result_type_and_our_server_info() -> None:
    result = shown({"content": [], "_meta": {"com.example/x": 1}}, era="modern", back="legacy")
    meta = {SERVER_INFO: {"name": "central-mcp"}, "com.example/x": 1}
    assert result == {"content": [], "resultType": "complete", "_meta": meta}


def test_lists_get_cache_hints_and_a_servers_own_hints_stay() -> None:
    assert shown({"tools": []}, "tools/list", era="modern", back="legacy")["ttlMs"] == 0
    own = {"tools": [], "ttlMs": 5, "cacheScope": "public", "resultType": "complete"}
    result = shown(own, "tools/list", era="modern", back="modern")
    assert (result["ttlMs"], result["cacheScope"]) == (5, "public")


def test_a_call_gets_no_cache_hints() -> None:
    assert "ttlMs" not in shown({"content": []}, era="modern", back="legacy")


def test_a_legacy_client_sees_nothing_of_the_modern_era() -> None:
    modern = {
        "content": [],
        "resultType": "complete",
        "ttlMs": 1,
        "cacheScope": "public",
        "_meta": {SERVER_INFO: {"name": "s"}},
    }
    assert shown(modern, era="legacy", back="modern") == {"content": []}


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("back", ["legacy", "modern"])
def test_a_server_cannot_forge_reserved_meta(era: str, back: str) -> None:
    keys = b'"io.modelcontextprotocol/\\u0073erverInfo":{"name":"evil"},"io.modelcontextprotocol/x":1'
    forged = b'{"content":[],"_meta":{%b}}' % keys
    assert b"evil" not in adapt(forged, "tools/call", era, "2025-11-25", back, INFO)
    assert b"protocol/x" not in adapt(forged, "tools/call", era, "2025-11-25", back, INFO)


def test_input_required_passes_to_a_modern_client_and_is_an_error_to_a_legacy_one() -> None:
    asking = {"resultType": "input_required", "requestState": "z", "inputRequests": {}}
    assert shown(asking, era="modern", back="modern")["resultType"] == "input_required"
    with pytest.raises(InvalidRequest, match="input_required"):
        shown(asking, era="legacy", back="modern")


def test_tools_lose_execution_for_modern_and_odd_output_schemas_for_legacy_clients() -> None:
    tool = {"name": "t", "inputSchema": {"$defs": {"a": {}}}, "execution": {"taskSupport": "optional"}}
    [modern] = shown({"tools": [tool]}, "tools/list", era="modern", back="legacy")["tools"]
    assert modern == {"name": "t", "inputSchema": {"$defs": {"a": {}}}}
    tools = [{"name": "a", "outputSchema": {"type": "array"}}, {"name": "b", "outputSchema": {"type": "object"}}]
    legacy = shown({"tools": tools, "resultType": "complete"}, "tools/list", era="legacy", back="modern")["tools"]
    assert legacy == [{"name": "a"}, {"name": "b", "outputSchema": {"type": "object"}}]


def test_structured_content_that_is_no_object_is_dropped_for_legacy_clients() -> None:
    result = {"resultType": "complete", "content": [], "structuredContent": [1]}
    assert shown(result, era="legacy", back="modern") == {"content": []}


@pytest.mark.parametrize(
    ("version", "kinds"),
    [("2024-11-05", ["text", "text"]), ("2025-03-26", ["text", "audio"]), ("2025-06-18", ["resource_link", "audio"])],
)
def test_old_clients_get_text_for_what_they_do_not_know(version: str, kinds: list[str]) -> None:
    content = [
        {"type": "resource_link", "uri": "file:///a", "name": "a"},
        {"type": "audio", "mimeType": "audio/wav", "data": ""},
    ]
    result = shown({"content": content}, era="legacy", back="legacy", version=version)
    assert [block["type"] for block in result["content"]] == kinds


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b""])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_result_that_is_no_object_is_the_servers_fault(body: bytes, era: str) -> None:
    with pytest.raises(InternalError, match="the server's result"):
        adapt(body, "tools/call", era, "2025-11-25", "legacy", INFO)
