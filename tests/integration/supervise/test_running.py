"""run_as: every line, the exit code, and no process left, however it ends."""

import os
import threading
import uuid
from pathlib import Path

import pytest

from central_mcp.supervise import RunError, run_as
from tests.waiting import SECOND, wait_until


def run(script: str, *, timeout_s: float = 30 * SECOND, cancel: threading.Event | None = None) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = run_as(
        None,
        ["/bin/sh", "-c", script],
        cwd=Path("/"),
        env={"PATH": "/usr/bin:/bin", "A": "b"},
        timeout_s=timeout_s,
        on_line=lines.append,
        cancel=cancel,
    )
    return code, lines


def living(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.fixture
def word() -> str:
    return f"central-test-{uuid.uuid4().hex}"


def test_lines_of_both_streams_and_the_exit_code() -> None:
    assert run("echo out; echo err >&2; printf '%s' $A; exit 3") == (3, ["out", "err", "b"])


def test_a_signal_is_a_negative_code() -> None:
    assert run("kill -9 $$") == (-9, [])


def test_bytes_that_are_no_text_and_endless_lines_are_taken() -> None:
    code, lines = run("printf '\\377\\n'; head -c 200000 /dev/zero | tr '\\0' x")
    assert (code, lines[0], sum(map(len, lines[1:]))) == (0, "\ufffd", 200_000)


def test_an_environment_and_stdin_of_its_own() -> None:
    code, lines = run("cat; env | cut -d= -f1 | sort")
    assert code == 0
    assert set(lines) == {"A", "PATH", "PWD"}


def test_one_that_takes_too_long_is_ended_with_its_group(word: str) -> None:
    with pytest.raises(RunError, match=r"/bin/sh did not end within 0.3 s"):
        run(f"sh -c 'trap \"\" TERM; sleep 1000; : {word}' & sleep 1000", timeout_s=0.3)
    wait_until(lambda: not living(word), "its group is dead")


def test_one_that_closed_its_output_is_waited_for() -> None:
    assert run("exec >&- 2>&-; sleep 0.3; exit 5") == (5, [])


def test_what_holds_the_output_after_the_end_is_not_waited_for(word: str) -> None:
    assert run(f"(sh -c 'sleep 1000; : {word}') & echo done") == (0, ["done"])
    wait_until(lambda: not living(word), "its group is dead")


def test_a_cancel_ends_it(word: str) -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(RunError, match="was cancelled"):
        run(f"sleep 1000; : {word}", cancel=cancel)
    wait_until(lambda: not living(word), "its group is dead")


def test_a_listener_that_fails_ends_it(word: str) -> None:
    def fail(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError):
        run_as(
            None, ["/bin/sh", "-c", f"echo x; sleep 1000; : {word}"], cwd=Path("/"), env={}, timeout_s=30, on_line=fail
        )
    wait_until(lambda: not living(word), "its group is dead")


def test_a_program_that_is_not_there_is_named() -> None:
    lines: list[str] = []
    code = run_as(None, ["/nowhere/x"], cwd=Path("/"), env={}, timeout_s=30, on_line=lines.append)
    assert code == 127
    assert "/nowhere/x" in lines[-1]
    with pytest.raises(RunError, match=r"/nowhere: No such file"):
        run_as(None, ["/bin/true"], cwd=Path("/nowhere"), env={}, timeout_s=30, on_line=lines.append)


def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(RunError, match="no user no-such-user"):
        run_as("no-such-user", ["/bin/true"], cwd=Path("/"), env={}, timeout_s=30, on_line=print)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another")
def test_another_user_runs_it() -> None:
    lines: list[str] = []
    code = run_as("nobody", ["/usr/bin/id", "-un"], cwd=Path("/"), env={}, timeout_s=30 * SECOND, on_line=lines.append)
    assert (code, lines) == (0, ["nobody"])
