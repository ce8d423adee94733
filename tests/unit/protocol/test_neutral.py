"""A request's params in neutral form, and the checks of the modern envelope."""

import json
from typing import Any

import pytest

from central_mcp.protocol.eras import agree
from central_mcp.protocol.errors import InvalidParams, UnsupportedVersion
from central_mcp.protocol.neutral import Request

ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
    "io.modelcontextprotocol/clientInfo": {"name": "ide"},
    "io.modelcontextprotocol/logLevel": "info",
}


def request(meta: Any = None, **fields: Any) -> Request:
    params = {**fields, **({"_meta": meta} if meta is not None else {})}
    return Request(json.dumps(params).encode())


def test_who_asks_and_how_moves_out_of_the_body() -> None:
    made = request({**ENVELOPE, "progressToken": "t", "com.example/x": 1}, name="a", arguments={"b": [1.0]})
    assert json.loads(made.body()) == {"name": "a", "arguments": {"b": [1.0]}, "_meta": {"com.example/x": 1}}
    assert made.check_envelope() == "2026-07-28"
    assert json.loads(bytes(made.capabilities)) == {"sampling": {}}
    assert (made.check_token(), made.log_level, made.modern) == (b'"t"', "info", True)


def test_an_empty_meta_is_not_sent_on() -> None:
    assert json.loads(request(ENVELOPE, name="a").body()) == {"name": "a"}


def test_a_request_without_envelope_is_legacy() -> None:
    made = request({"progressToken": 7}, name="a")
    assert not made.modern
    assert (made.check_token(), made.log_level, made.trace) == (b"7", "", "")


def test_the_trace_stays_in_the_body_and_is_told() -> None:
    made = request({"traceparent": "00-a-b-01"})
    assert made.trace == "00-a-b-01"
    assert json.loads(made.body()) == {"_meta": {"traceparent": "00-a-b-01"}}


def test_a_name_given_twice_is_sent_once_as_it_was_read() -> None:
    made = Request(b'{"name":"first","name":"second"}')
    assert made.text("name") == "second"
    assert made.body() == b'{"name":"second"}'


@pytest.mark.parametrize("key", list(ENVELOPE)[:2])
def test_a_missing_key_of_the_envelope_is_named(key: str) -> None:
    with pytest.raises(InvalidParams, match=key):
        request({name: value for name, value in ENVELOPE.items() if name != key}).check_envelope()


@pytest.mark.parametrize(
    "change",
    [
        {"io.modelcontextprotocol/protocolVersion": 5},
        {"io.modelcontextprotocol/clientCapabilities": []},
        {"io.modelcontextprotocol/clientInfo": "x"},
    ],
)
def test_a_wrong_shape_in_the_envelope_is_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        request({**ENVELOPE, **change}).check_envelope()


def test_an_unknown_version_is_answered_with_those_we_speak() -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        request({**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2031-01-01"}).check_envelope()
    assert caught.value.data["requested"] == "2031-01-01"
    assert caught.value.data["supported"][0] == "2026-07-28"


@pytest.mark.parametrize("level", ["loud", 5, ["info"]])
def test_a_log_level_that_does_not_exist_is_invalid(level: Any) -> None:
    with pytest.raises(InvalidParams, match="log level"):
        _ = request({**ENVELOPE, "io.modelcontextprotocol/logLevel": level}).log_level


@pytest.mark.parametrize("meta", ["x", [1], 5])
def test_a_meta_that_is_no_object_is_invalid(meta: Any) -> None:
    with pytest.raises(InvalidParams):
        request(meta)


@pytest.mark.parametrize("token", [1.5, {}, True])
def test_a_progress_token_is_a_string_or_an_integer(token: Any) -> None:
    with pytest.raises(InvalidParams):
        request({"progressToken": token}).check_token()


@pytest.mark.parametrize("fields", [{}, {"name": 5}, {"name": None}])
def test_a_field_that_must_be_text_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match="name"):
        request(**fields).text("name")


def test_a_known_legacy_version_is_echoed_and_an_unknown_one_gets_the_newest() -> None:
    assert agree("2024-11-05") == "2024-11-05"
    assert agree("2030-01-01") == agree("2026-07-28") == "2025-11-25"
