"""The headers that mirror a modern request's body."""

import json
from typing import Any

import pytest

from central_mcp.protocol.errors import HeaderMismatch
from central_mcp.protocol.headers import check, check_parameters, decode_value, encode_value, mirrored, name_field

GOOD = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "git__status"}


@pytest.mark.parametrize("value", ["plain", "", " edge ", "é", "a\nb", "=?base64?eA==?=", "a" * 100])
def test_a_value_survives_the_way_through_a_header(value: str) -> None:
    encoded = encode_value(value)
    assert encoded.isascii()
    assert "\n" not in encoded
    assert decode_value(encoded) == value


@pytest.mark.parametrize("value", ["=?base64?!?=", "=?base64?eB==?=", "=?base64?/w==?="])
def test_a_broken_encoding_matches_nothing(value: str) -> None:
    assert decode_value(value) is None


def test_headers_that_say_what_the_body_says_pass() -> None:
    check(GOOD.get, "tools/call", "2026-07-28", "git__status")
    check({**GOOD, "mcp-method": "tools/list"}.get, "tools/list", "2026-07-28", None)


@pytest.mark.parametrize("header", GOOD)
@pytest.mark.parametrize("value", ["other", None])
def test_a_header_that_differs_or_is_missing_is_a_mismatch(header: str, value: str | None) -> None:
    headers = {name: there for name, there in {**GOOD, header: value}.items() if there is not None}
    with pytest.raises(HeaderMismatch):
        check(headers.get, "tools/call", "2026-07-28", "git__status")


def test_which_field_names_a_request() -> None:
    assert [name_field(m) for m in ("tools/call", "resources/read", "tools/list")] == ["name", "uri", ""]


SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "flag": {"type": "boolean", "x-mcp-header": "Flag"},
        "plain": {"type": "string"},
    },
}


def parameters(arguments: Any, headers: dict[str, str]) -> None:
    lines = {name.lower(): [value] for name, value in headers.items()}
    check_parameters(mirrored(SCHEMA), json.dumps(arguments).encode(), lambda name: lines.get(name, []))


def test_which_parameters_are_mirrored() -> None:
    assert [(entry.header, entry.path) for entry in mirrored(SCHEMA)] == [
        ("mcp-param-region", ("region",)), ("mcp-param-n", ("deep", "n")), ("mcp-param-flag", ("flag",))
    ]  # fmt: skip


@pytest.mark.parametrize(
    "annotated",
    [
        {"type": "number", "x-mcp-header": "A"}, {"type": "string", "x-mcp-header": ""}, {"x-mcp-header": "A"},
        {"type": "string", "x-mcp-header": 5}, {"type": "string", "x-mcp-header": "a b"},
    ],
)  # fmt: skip
def test_a_bad_annotation_mirrors_nothing(annotated: dict[str, Any]) -> None:
    assert mirrored({"properties": {"a": annotated, "b": {"type": "string", "x-mcp-header": "B"}}}) == ()
    assert mirrored({"properties": {n: {"type": "string", "x-mcp-header": n} for n in ("a", "A")}}) == ()


def test_parameters_that_say_what_the_arguments_say_pass() -> None:
    parameters({}, {})
    parameters({"region": None, "plain": "x"}, {})
    parameters({"region": "é", "deep": {"n": 42}}, {"Mcp-Param-Region": encode_value("é"), "Mcp-Param-N": "42.0"})
    parameters({"flag": True}, {"Mcp-Param-Flag": "true"})


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "a"}, {}), ({}, {"Mcp-Param-Region": "a"}), ({"region": "a"}, {"Mcp-Param-Region": "b"}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "=?base64?SGVsbG8?="}), ({"flag": True}, {"Mcp-Param-Flag": "True"}),
        ({"deep": {"n": 42}}, {"Mcp-Param-N": "42.5"}), ({"deep": {"n": 42}}, {"Mcp-Param-N": "4e1"}),
        ({"deep": 5}, {"Mcp-Param-N": "5"}), ({"region": {}}, {"Mcp-Param-Region": "{}"}),
    ],
)  # fmt: skip
def test_parameters_that_differ_are_a_mismatch(arguments: Any, headers: dict[str, str]) -> None:
    with pytest.raises(HeaderMismatch):
        parameters(arguments, headers)
