"""Lines out of bytes, with a cap, and the two threads around real pipes."""

import os
import threading

import pytest

from central_bridge.pipes import Lines, Oversize, Stdin, Stdout
from tests.waiting import wait_until


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_how_the_bytes_arrive(size: int):
    data = b'{"a":1}\r\n\n{"b":2}\n{"c":'
    lines = Lines(100)
    found = [line for i in range(0, len(data), size) for line in lines.feed(data[i : i + size])]
    assert found == [b'{"a":1}\r', b"", b'{"b":2}']
    assert lines.rest() == [b'{"c":']


@pytest.mark.parametrize("size", [1, 10, 64, 100_000])
@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"x","params":"%s"}', 7),
        (b'{"jsonrpc": "2.0", "id": "7", "method":"x","params":"%s"}', "7"),
        (b'{"method":"x","params":"%s","jsonrpc":"2.0","id":9}', 9),
        (b'{"method":"x","params":{"text":"%s","id":9}}', None),
        (b'{"method":"x","id":8,"params":"%s"}', None),
    ],
)
def test_a_line_over_the_limit_is_dropped_and_reported(size: int, line: bytes, id: int | str | None):
    big = line.replace(b"%s", b"x" * 20_000)
    data = b"one\n" + big + b"\nthree\n"
    lines = Lines(10_000)
    found = [item for i in range(0, len(data), size) for item in lines.feed(data[i : i + size])]
    assert found == [b"one", Oversize(len(big), id), b"three"]


def test_a_line_of_exactly_the_limit_passes():
    lines = Lines(10)
    assert lines.feed(b"0123456789\r\n0123456789\n01234567890\n") == [
        b"0123456789\r",
        b"0123456789",
        Oversize(11, None),
    ]


def test_stdin_reports_lines_and_then_the_end():
    end, start = os.pipe()
    seen: list[object] = []
    over = threading.Event()
    stdin = Stdin(end, 1000, lambda batch: (seen.extend(batch), stdin.taken()), over.set)  # type: ignore[func-returns-value]
    stdin.start()
    os.write(start, b"a\nb\nlast")
    os.close(start)
    assert over.wait(30)
    os.close(end)
    assert seen == [b"a", b"b", b"last"]


def test_stdin_stops_reading_while_nobody_takes():
    end, start = os.pipe()
    batches: list[list[bytes | Oversize]] = []
    over, written = threading.Event(), threading.Event()

    def write() -> None:
        for _ in range(40_000):
            os.write(start, b"x" * 99 + b"\n")
        os.close(start)
        written.set()

    stdin = Stdin(end, 1000, batches.append, over.set)
    stdin.start()
    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(batches) == 8, "eight batches handed over")
    assert not written.is_set()
    while not over.wait(0.001):
        stdin.taken()
    writer.join(30)
    os.close(end)
    assert sum(len(batch) for batch in batches) == 40_000


def test_stdout_writes_in_order_and_tells_when_there_is_room_again():
    end, start = os.pipe()
    room = threading.Event()
    stdout = Stdout(start, lambda: None, room.set)
    stdout.start()
    big = b"y" * (Stdout.HIGH + 1)
    assert stdout.put([b"one"]) is True
    assert stdout.put([big]) is False
    with os.fdopen(end, "rb") as reader:
        assert reader.readline() == b"one\n"
        assert reader.readline() == big + b"\n"
        assert room.wait(30)
        assert stdout.put([b"two"]) is True
        stdout.finish(30)
        os.close(start)
        assert reader.read() == b"two\n"


def test_stdout_tells_that_its_reader_has_gone():
    end, start = os.pipe()
    broken = threading.Event()
    stdout = Stdout(start, broken.set, lambda: None)
    stdout.start()
    os.close(end)
    stdout.put([b"one"])
    assert broken.wait(30)
    os.close(start)
