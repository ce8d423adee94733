"""The watch's verdict over two readings."""

from types import SimpleNamespace

import pytest

from central_mcp.engine.serving import Serving
from central_mcp.rollout.watch import SLOW_IN_A_ROW, Reading, Thresholds, since, slow, verdict

LIMITS = Thresholds(errors=0.01, p95=2.0)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (Reading(1000, 0), Reading(100, 0), ""),
        (Reading(1000, 0), Reading(2, 2), ""),
        (
            Reading(1000, 0),
            Reading(10, 3, last_error="exited"),
            "3 of 10 calls failed since the switch (30%; before 0%)",
        ),
        (Reading(1000, 500), Reading(10, 5), ""),
        (Reading(), Reading(3, 3), "3 of 3"),
        (Reading(100, 0, 10), Reading(100, 0, 40), ""),
        (Reading(100, 0, 0), Reading(100, 0, 80), "tools answered 80 of 100 calls with an error"),
        (Reading(100, p95_ms=100), Reading(100, p95_ms=250), "p95 250 ms, before 100 ms"),
        (Reading(100, p95_ms=2), Reading(100, p95_ms=20), ""),
        (Reading(100, p95_ms=100), Reading(5, p95_ms=900), ""),
    ],
)
def test_a_release_goes_when_it_fails_more_or_slower_than_the_one_before(
    before: Reading, now: Reading, words: str
) -> None:
    found = verdict(before, now, LIMITS) or slow(before, now, LIMITS)
    assert words in found
    assert bool(words) == bool(found)


def test_only_calls_since_the_switch_count_and_a_restarted_router_counts_from_zero() -> None:
    assert since(Reading(10, 2), Reading(15, 3)) == Reading(5, 1)
    assert since(Reading(10, 2), Reading(4, 1)) == Reading(4, 1)


def test_a_reading_takes_what_the_router_gives() -> None:
    assert Reading.of({"calls": 3, "p95_ms": None, "last_error": None}) == Reading(3)


def test_slowness_speaks_only_when_it_lasts() -> None:
    serving = Serving(None, SimpleNamespace(plan=[]))  # type: ignore[arg-type]
    told = [serving._slow_for_long("git", "slow") for _ in range(SLOW_IN_A_ROW - 1)]
    assert told == [""] * (SLOW_IN_A_ROW - 1)
    assert serving._slow_for_long("git", "") == ""
    assert [serving._slow_for_long("git", "slow") for _ in range(SLOW_IN_A_ROW)][-1] == "slow"
