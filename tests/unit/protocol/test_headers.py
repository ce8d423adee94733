"""The headers that mirror a modern request's body."""

import pytest

from central_mcp.protocol.errors import HeaderMismatch
from central_mcp.protocol.headers import check, decode_value, encode_value, name_field

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
    check(GOOD, "tools/call", "2026-07-28", "git__status")
    check({**GOOD, "mcp-method": "tools/list"}, "tools/list", "2026-07-28", None)


@pytest.mark.parametrize("header", GOOD)
@pytest.mark.parametrize("value", ["other", None])
def test_a_header_that_differs_or_is_missing_is_a_mismatch(header: str, value: str | None) -> None:
    headers = {name: there for name, there in {**GOOD, header: value}.items() if there is not None}
    with pytest.raises(HeaderMismatch):
        check(headers, "tools/call", "2026-07-28", "git__status")


def test_which_field_names_a_request() -> None:
    assert [name_field(m) for m in ("tools/call", "resources/read", "tools/list")] == ["name", "uri", ""]
