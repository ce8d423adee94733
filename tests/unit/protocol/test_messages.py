"""One JSON-RPC message: what is taken, what is refused and to whom the refusal goes."""

import json

import pytest

from central_mcp.protocol.messages import (
    Malformed,
    error_message,
    has_id,
    id_of,
    notification,
    params_of,
    parse,
    result_message,
)


def test_a_request_keeps_its_id_and_params_raw() -> None:
    message = parse(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a": 1.0}}')
    assert (message.method, id_of(message), params_of(message)) == ("tools/call", b"7", b'{"a": 1.0}')


@pytest.mark.parametrize("id", [b"7", b'"7"', b"-1", b'""', b'"\\u00e9"'])
def test_an_id_keeps_its_json_type(id: bytes) -> None:
    assert id_of(parse(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % id)) == id


def test_a_message_without_id_is_a_notification() -> None:
    assert not has_id(parse(b'{"jsonrpc":"2.0","method":"notifications/initialized"}'))


@pytest.mark.parametrize("body", [b'"result":{}', b'"error":{"code":1,"message":"m"}'])
def test_a_response_is_taken(body: bytes) -> None:
    assert parse(b'{"jsonrpc":"2.0","id":1,%b}' % body).method == ""


REFUSED = {
    "empty": (b"", -32700, b"null"),
    "garbage": (b"hello", -32700, b"null"),
    "truncated": (b'{"jsonrpc":"2.0","id":1,"method":"x"', -32700, b"null"),
    "two messages": (b'{"jsonrpc":"2.0","method":"x"}{}', -32700, b"null"),
    "not utf-8": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\xff"}}', -32700, b"null"),
    "batch": (b'[{"jsonrpc":"2.0","id":1,"method":"x"}]', -32600, b"null"),
    "number": (b"5", -32600, b"null"),
    "old version": (b'{"jsonrpc":"1.0","id":1,"method":"x"}', -32600, b"1"),
    "no version": (b'{"id":"a","method":"x"}', -32600, b'"a"'),
    "method is no string": (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600, b"1"),
    "null id": (b'{"jsonrpc":"2.0","id":null,"method":"x"}', -32600, b"null"),
    "fraction as id": (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', -32600, b"null"),
    "object as id": (b'{"jsonrpc":"2.0","id":{},"method":"x"}', -32600, b"null"),
    "params is a list": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}', -32600, b"1"),
    "nothing in it": (b'{"jsonrpc":"2.0"}', -32600, b"null"),
    "neither result nor error": (b'{"jsonrpc":"2.0","id":1}', -32600, b"1"),
    "deep": (
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        -32700,
        b"null",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_message_is_refused_with_code_and_id(name: str) -> None:
    data, code, id = REFUSED[name]
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert (caught.value.error.code, caught.value.id) == (code, id)


def test_no_second_line_can_be_slipped_through_a_pretty_printed_message() -> None:
    inner = b'{"jsonrpc":"2.0","id":9,"method":"evil"}'
    data = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":[\n%b\r\n]}}' % inner
    params = params_of(parse(data))
    assert b"\n" not in params
    assert b"\r" not in params
    assert json.loads(params) == {"a": [json.loads(inner)]}


def test_answers_are_single_lines_with_the_id_as_it_came() -> None:
    assert result_message(b'"7"', b"{}") == b'{"jsonrpc":"2.0","id":"7","result":{}}'
    assert json.loads(error_message(b"null", b'{"code":1,"message":"m"}'))["id"] is None
    assert json.loads(notification("a/b")) == {"jsonrpc": "2.0", "method": "a/b"}
