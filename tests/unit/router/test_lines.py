"""Cutting a server's stdout into lines, and reading a line as far as routing needs."""

import pytest

from central_mcp.protocol.lines import Lines, NotAMessage, Oversize, parse


def test_lines_come_out_whole_however_they_arrive() -> None:
    stream = b'{"a":1}\n\n{"b":"' + b"x" * 50 + b'"}\nrest'
    for step in (1, 2, 7, 1000):
        lines = Lines()
        found = [line for at in range(0, len(stream), step) for line in lines.feed(stream[at : at + step])]
        assert found == stream.split(b"\n")[:-1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":41,"result":"' + b"x" * 500 + b'"}',
        b'{"result":"' + b"x" * 500 + b'","jsonrpc":"2.0","id":41}',
        b'{"result":"' + b"x" * 500 + b'","id": 41 }',
    ],
)
@pytest.mark.parametrize("step", [10, 97, 10_000])
def test_a_line_over_the_limit_is_dropped_but_its_id_is_found(line: bytes, step: int) -> None:
    lines = Lines(limit=200)
    stream = b"before\n" + line + b"\nafter\n"
    found = [each for at in range(0, len(stream), step) for each in lines.feed(stream[at : at + step])]
    assert found == [b"before", Oversize(len(line), 41), b"after"] or step == 10_000


def test_a_line_over_the_limit_keeps_little_memory() -> None:
    lines = Lines(limit=1000)
    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
    assert sum(map(len, lines._parts)) < 2000
    assert lines.feed(b"\n") == [Oversize(1_000_000, None)]


def test_parts_of_a_message_stay_raw() -> None:
    message = parse('{"jsonrpc":"2.0","id":7,"result":{"a": [1, "é"]},"x":1}'.encode())
    assert message.id == 7
    assert bytes(message.result) == '{"a": [1, "é"]}'.encode()
    assert not bytes(message.error)
    assert parse(b'{"method":"ping","id":"s"}').method == "ping"


@pytest.mark.parametrize(
    "line", [b"Welcome!", b"[]", b"7", b"null", b"{", b'{"id":{}}', b'{"id":1,"result":"\xff"}', b'{"method":1}', b""]
)
def test_what_is_no_message_is_said_so(line: bytes) -> None:
    with pytest.raises(NotAMessage):
        parse(line)
