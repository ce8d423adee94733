"""kill -9 of every program of a cloud under load: it comes back by itself, and its callers lose next to nothing."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from central_mcp.runner.processes import children_of, tree_of
from central_mcp.supervise import SuperviseError, Supervisor, keeper
from tests.cloud import Cloud
from tests.waiting import wait_until

from .caller import PER_SECOND, Busy, Call, Caller, busy_project
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


@contextlib.contextmanager
def calling(cloud: Cloud, busy: Busy) -> Iterator[Caller]:
    """A caller of a cloud that does nothing else, with one process for each server."""
    settled(cloud)
    with Caller(cloud, busy) as caller:
        wait_until(lambda: len(server_processes(cloud)) == 2, "one process for each server", 60)
        yield caller


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
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def back(cloud: Cloud, who: Callable[[Cloud], list[int]], old: list[int]) -> None:
    """Wait until as many others run instead of the killed ones."""

    def others() -> bool:
        now = who(cloud)
        return len(now) >= len(old) and not set(now) & {0, *old}

    wait_until(others, "the killed ones to be replaced", 60)


def assert_clear(failed: list[Call], last: int) -> None:
    """Only calls up to `last` may have failed, each with an error that says what happened to what."""
    for call in failed:
        assert call.error is not None
        assert call.error["code"] in CLEAR, call
        assert CLEAR[call.error["code"]] in call.error["message"], call
        assert call.tool.split("__")[0] in call.error["message"], call
        assert call.number <= last, call


@pytest.mark.parametrize("name", VICTIMS)
def test_what_is_killed_comes_back_by_itself(cloud: Cloud, busy: Busy, name: str) -> None:
    who = VICTIMS[name]
    with calling(cloud, busy) as caller:
        before = Census(cloud)
        old = who(cloud)
        kill(old)
        noticed = caller.asked + PER_SECOND
        back(cloud, who, old)
        caller.flows()
        before.holds()
        failed = caller.errors()
    assert_clear(failed, noticed)
    if name in UNNOTICED:
        assert failed == []


@pytest.mark.parametrize("names", [("router", "coordinator"), ("servers", "router"), ("engine", "supervisord")])
def test_two_that_are_killed_one_after_the_other_come_back(cloud: Cloud, busy: Busy, names: tuple[str, str]) -> None:
    with calling(cloud, busy) as caller:
        before = Census(cloud)
        first, second = (VICTIMS[name] for name in names)
        old = first(cloud), second(cloud)
        kill(old[0])
        kill(second(cloud))
        noticed = caller.asked + PER_SECOND
        back(cloud, first, old[0])
        back(cloud, second, old[1])
        caller.flows()
        before.holds()
        failed = caller.errors()
    assert_clear(failed, noticed)


def test_a_coordinator_killed_five_times_under_load_costs_each_time_only_what_was_under_way(
    cloud: Cloud, busy: Busy
) -> None:
    who = VICTIMS["coordinator"]
    allowed: set[int] = set()
    with calling(cloud, busy) as caller:
        before = Census(cloud)
        for _ in range(5):
            old = who(cloud)
            start = min(caller.under_way(), default=caller.asked)
            kill(old)
            allowed |= set(range(start, caller.asked + PER_SECOND))
            back(cloud, who, old)
            caller.flows(4)
        before.holds()
        failed = caller.errors()
    assert_clear(failed, max(allowed))
    assert {call.number for call in failed} <= allowed
    assert [call for call in failed if call.tool.endswith("read")] == []
