"""Restarts, places to start in, a call's clock, exits and outcomes: the router's rules without a server."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from central_mcp.protocol.frames import Head, Kind
from central_mcp.router import exits
from central_mcp.router.back import Back
from central_mcp.router.call import HARD, Call
from central_mcp.router.outcomes import CATCH_UP_S, Outcomes
from central_mcp.router.restarts import DELAYS_S, STABLE_S, Restarts
from central_mcp.router.spawns import Spawns


def test_failed_starts_wait_longer_each_time_up_to_a_limit() -> None:
    restarts = Restarts("on-failure")
    waits = []
    for _ in range(len(DELAYS_S) + 2):
        restarts.failed(100.0, "exited with code 1", [])
        waits.append(restarts.wait_s(100.0))
    assert waits == [*DELAYS_S, DELAYS_S[-1], DELAYS_S[-1]]
    assert restarts.wait_s(100.0 + DELAYS_S[-1]) == 0
    restarts.stable()
    restarts.failed(200.0, "", [])
    assert restarts.wait_s(200.0) == DELAYS_S[0]


def test_a_first_death_is_forgiven_a_quick_second_is_not() -> None:
    restarts = Restarts("always")
    restarts.ended(10.0, 1.0, "was killed by SIGKILL", [])
    assert restarts.wait_s(10.0) == 0
    restarts.ended(11.0, 1.0, "was killed by SIGKILL", [])
    assert restarts.wait_s(11.0) > 0
    restarts.ended(50.0, STABLE_S + 1, "exited with code 0", [])
    assert (restarts.failures, restarts.wait_s(50.0)) == (0, 0)


def test_never_stays_down() -> None:
    restarts = Restarts("never")
    assert restarts.wait_s(0.0) == 0
    restarts.ended(10.0, STABLE_S + 1, "exited with code 0", [])
    assert restarts.wait_s(1e9) == float("inf")


def test_places_go_round_among_servers_and_come_back_by_themselves() -> None:
    async def main() -> None:
        spawns = Spawns(limit=1, hold_s=30)
        order: list[str] = []

        async def start(server: str) -> None:
            place = await spawns.enter(server)
            order.append(server)
            await asyncio.sleep(0)
            place.leave()
            place.leave()  # twice counts once

        await asyncio.gather(*(start(server) for server in ("a", "a", "a", "b", "c")))
        assert order == ["a", "a", "b", "c", "a"]
        lost = asyncio.create_task(spawns.enter("x"))
        await lost
        waiting = asyncio.create_task(spawns.enter("y"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        lost.result().leave()
        (await asyncio.wait_for(spawns.enter("z"), 30)).leave()

        quick = Spawns(limit=1, hold_s=0)
        await quick.enter("hangs")
        await asyncio.wait_for(quick.enter("next"), 30)

    asyncio.run(main())


def call(**head: Any) -> Call:
    return Call(cast(Any, None), Head(Kind.CALL, 1, "tools/call", **head), b"{}", 1000.0)


def test_a_calls_clock_starts_anew_with_each_sign_of_life_up_to_a_hard_limit() -> None:
    one = call()
    one.limit(60)
    assert one.due == 1060
    one.alive(1050)
    assert one.due == 1110
    one.alive(1000 + HARD * 60 - 1)
    assert one.due == 1000 + HARD * 60
    two = call(deadline=5000)
    two.limit(60)
    assert two.due == 1005
    two.alive(1004)
    assert two.due == 1005


def test_an_exit_is_told_in_words() -> None:
    assert exits.Exit(code=1, stderr=["a", "Boom: x ", " "]).text == "exited with code 1: Boom: x"
    assert exits.Exit(signal="SIGSEGV").text == "was killed by SIGSEGV"


def test_only_a_newer_exit_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.status"
    assert exits.read(path) == exits.Status()
    path.write_text('{"exits":3,"last":{"code":1,"signal":null,"at":50.0,"lived_s":1,"stderr":[]},"id":"x"}')
    assert asyncio.run(exits.wait(path, 3, 40.0, 0)) is None
    assert asyncio.run(exits.wait(path, 2, 60.0, 0)) is None
    found = asyncio.run(exits.wait(path, 2, 40.0, 0))
    assert found is not None
    assert found.code == 1
    path.write_text("{half")
    assert exits.read(path).exits == 0


def test_identity_is_the_first_twelve_digits_of_the_hash() -> None:
    assert exits.identity("git", 12) == exits.identity("git", 12)
    assert len(exits.identity("git", 12)) == 12
    assert exits.identity("git", 12) != exits.identity("git", 1)


@pytest.mark.parametrize(
    ("kind", "body", "errors", "tool_errors"),
    [
        (Kind.RESULT, b'{"content":[]}', 0, 0),
        (Kind.RESULT, b'{"content":[],"isError":true}', 0, 1),
        (Kind.RESULT, b'{"content":[{"text":"\\"isError\\":true"}],"isError":false}', 0, 0),
        (Kind.ERROR, b'{"code":-32603,"message":"broken"}', 1, 0),
        (Kind.ERROR, b'{"code":-32602,"message":"your fault"}', 0, 0),
    ],
)
def test_outcomes_tell_the_servers_faults_from_the_callers(
    kind: Kind, body: bytes, errors: int, tool_errors: int
) -> None:
    outcomes = Outcomes()
    outcomes.count(call(), kind, body)
    report = outcomes.report()
    assert (report["calls"], report["errors"], report["tool_errors"]) == (1, errors, tool_errors)
    assert (report["last_error"] == "") == (errors == 0)
    assert report["p95_ms"] is not None


@pytest.mark.parametrize(("after", "measured"), [(0.1, False), (CATCH_UP_S + 0.1, True)])
def test_calls_that_a_new_process_catches_up_with_are_not_measured(after: float, measured: bool) -> None:
    outcomes = Outcomes()
    first = call()
    first.back = cast(Back, SimpleNamespace(ready=100.0))
    first.written = 100.0 + after
    outcomes.count(first, Kind.RESULT, b"{}")
    assert (outcomes.calls, outcomes.p95_ms() is not None) == (1, measured)
