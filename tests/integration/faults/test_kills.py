"""kill -9 of every program of a cloud under load: it comes back by itself, and its callers lose next to nothing."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from central_mcp.runner.processes import children_of, tree_of
from central_mcp.supervise import Supervisor, SuperviseError, keeper
from tests.cloud import Cloud
from tests.waiting import wait_until

from .caller import Busy, Call, Caller, busy_project
from .census import Census, settled

CLEAR = {50900: "unknown", 50300: ""}
"""Codes of the errors that a caller may see, and a word that their messages have."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up() as running:
        yield running


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Busy:
    return busy_project(cloud)


def supervisord(cloud: Cloud) -> int:
    try:
        return Supervisor(cloud.home.supervisor_socket).pid()
    except SuperviseError:
        return 0


def children(pid: int, word: str) -> list[int]:
    """Living children of a process whose command has `word`."""
    found = []
    for child in children_of(pid):
        try:
            with open(f"/proc/{child}/cmdline", "rb") as file:
                if word.encode() in file.read():
                    found.append(child)
        except OSError:
            pass
    return found


def program(word: str) -> Callable[[Cloud], list[int]]:
    return lambda cloud: children(supervisord(cloud), word)


def server_processes(cloud: Cloud) -> list[int]:
    return [pid for runner in program("runner/main.py")(cloud) for pid in children(runner, "server.py")]


def below_keeper(cloud: Cloud) -> list[int]:
    pid = keeper.running(cloud.home)
    return tree_of(pid)[1:] if pid else []


VICTIMS: dict[str, Callable[[Cloud], list[int]]] = {
    "coordinator": program("central_mcp.coordinator"),
    "router": program("central_mcp.router"),
    "servers": server_processes,
    "runners": program("runner/main.py"),
    "engine": program("central_mcp.engine"),
    "supervisord": lambda cloud: [supervisord(cloud)],
    "everything below the keeper": below_keeper,
}
UNNOTICED = {"engine"}
"""The data plane serves on without them."""


def kill(pids: list[int]) -> None:
    assert pids
    assert 0 not in pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def back(cloud: Cloud, who: Callable[[Cloud], list[int]], old: list[int]) -> None:
    """Wait until as many others run instead of the killed ones."""

    def others() -> bool:
        now = who(cloud)
        return len(now) >= len(old) and not set(now) & {0, *old}

    wait_until(others, "the killed ones to be replaced", 60)


def assert_clear(failed: list[Call]) -> None:
    for call in failed:
        assert call.error is not None
        assert call.error["code"] in CLEAR, call
        assert CLEAR[call.error["code"]] in call.error["message"], call
        assert call.tool in call.error["message"] or call.tool.split("__")[0] in call.error["message"], call


@pytest.mark.parametrize("name", VICTIMS)
def test_what_is_killed_comes_back_by_itself(cloud: Cloud, busy: Busy, name: str) -> None:
    who = VICTIMS[name]
    settled(cloud)
    with Caller(cloud, busy) as caller:
        wait_until(lambda: len(server_processes(cloud)) == 2, "one process for each server")
        before = Census(cloud)
        old = who(cloud)
        under_way = caller.under_way()
        kill(old)
        under_way |= caller.under_way()
        back(cloud, who, old)
        caller.flows()
        before.holds()
        failed = caller.errors()
    print(name, len(under_way), [(c.number in under_way, c.tool, c.error) for c in failed], len(caller.calls))
    assert_clear(failed)
