"""A server's stderr becomes capped lines in a file of capped size."""

import re
from pathlib import Path

from central_mcp.runner import log
from central_mcp.runner.log import Lines, Log


def test_a_stream_cut_anywhere_gives_the_same_lines() -> None:
    stream = b"one\ntwo\r\n\nthree"
    for step in range(1, len(stream) + 1):
        lines = Lines()
        got = [line for at in range(0, len(stream), step) for line in lines.feed(stream[at : at + step], 0.0)]
        assert got + lines.end() == [b"one", b"two", b"", b"three"]
        assert lines.count == 4


def test_a_line_without_end_is_cut_and_its_rest_dropped() -> None:
    lines = Lines()
    got = [line for _ in range(10) for line in lines.feed(b"x" * 4096, 0.0)]
    got += lines.feed(b"still the same line\nnext\n", 0.0)
    assert [log.LINE_BYTES + len(" ... (cut)"), 4] == [len(line) for line in got]


def test_a_flood_is_counted_and_left_out_until_the_next_second() -> None:
    lines = Lines()
    piece = b"x" * 99 + b"\n"
    kept = sum(len(lines.feed(piece * 100, 0.5)) for _ in range(1000))
    assert kept <= Lines.FLOOD_BYTES / 100 + 1
    first, *rest = lines.feed(b"calm again\n", 1.5)
    assert re.fullmatch(rb"\(\d+ lines left out: .*\)", first)
    assert rest == [b"calm again"]
    assert lines.count == 100_001


def test_the_last_twenty_lines_are_remembered() -> None:
    lines = Lines()
    lines.feed(b"".join(b"%d\n" % n for n in range(50)), 0.0)
    assert [str(n) for n in range(30, 50)] == lines.tail


def test_lines_carry_time_and_pid_and_no_control_characters(tmp_path: Path) -> None:
    writer = Log(str(tmp_path / "git.log"))
    writer.write([b"\x1b[31mred\tone\x07"], 42)
    writer.close()
    text = (tmp_path / "git.log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 42 \?\[31mred\tone\?\n", text)


def test_two_runners_rotate_one_log_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "git.log"
    old, new = Log(str(path)), Log(str(path))
    line = b"x" * 4000
    for number in range(300):  # 2.4 MB: two rotations
        (old if number % 3 else new).write([b"%d " % number + line, b"again"], number)
    old.close()
    new.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["git.log", "git.log.1"]
    assert sum(file.read_text().count("\n") for file in files) == 600


def test_old_logs_are_dropped(tmp_path: Path) -> None:
    writer = Log(str(tmp_path / "git.log"))
    for _ in range(50):
        writer.write([b"x" * 8000] * 20, 1)
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert ["git.log", *(f"git.log.{n}" for n in range(1, log.KEEP + 1))] == [file.name for file in files]
    assert all(file.stat().st_size < log.ROTATE_BYTES + 200_000 for file in files)


def test_lost_lines_are_told_when_the_disk_takes_lines_again(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    writer = Log(str(folder / "git.log"))
    writer.write([b"lost", b"lost too"], 1)
    writer.write([b"and this"], 1)
    folder.mkdir()
    writer.write([b"kept"], 1)
    writer.close()
    told, kept = (folder / "git.log").read_text().splitlines()
    assert "(3 lines before this one were lost" in told
    assert kept.endswith(" 1 kept")
