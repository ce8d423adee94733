"""Backoff and keep-alive as rules."""

from central_bridge.pace import FIRST_S, LONGEST_S, SLOW_S, Backoff, Pulse


def highest(a: float, b: float) -> float:
    return b


def test_failures_back_off_to_ten_seconds():
    backoff = Backoff(highest)
    delays = [backoff.after_failure(final=False) for _ in range(12)]
    assert delays[0] == 2 * FIRST_S
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_S


def test_full_jitter_may_come_back_almost_at_once_but_never_spins():
    backoff = Backoff(lambda a, b: a)
    assert backoff.after_failure(final=False) >= 0.02


def test_a_refused_key_is_tried_slowly():
    assert Backoff(highest).after_failure(final=True) == SLOW_S[1]


def test_a_going_away_is_followed_at_once():
    assert Backoff(highest).after_loss(lived_s=60, at_once=True) <= 0.05


def test_a_stable_connection_starts_afresh_and_a_short_one_does_not():
    backoff = Backoff(highest, tries=6)
    assert backoff.after_loss(lived_s=0.1, at_once=True) > 1
    assert backoff.after_loss(lived_s=60, at_once=False) == FIRST_S


def test_a_silent_peer_is_pinged_and_then_dead():
    pulse = Pulse(20)
    assert pulse.beat(5, heard=0, unsent=0, busy=False, wall=5) == ""
    assert pulse.beat(20, heard=0, unsent=0, busy=False, wall=20) == "ping"
    assert pulse.beat(25, heard=0, unsent=0, busy=False, wall=25) == ""
    assert pulse.beat(30, heard=0, unsent=0, busy=False, wall=30) == "dead"


def test_an_answer_keeps_it_alive():
    pulse = Pulse(20)
    assert pulse.beat(20, heard=0, unsent=0, busy=False, wall=20) == "ping"
    assert pulse.beat(30, heard=21, unsent=0, busy=False, wall=30) == ""


def test_calls_under_way_are_watched_more_closely():
    assert Pulse(20).beat(5, heard=0, unsent=0, busy=True, wall=5) == "ping"


def test_a_big_message_that_is_leaving_is_a_sign_of_life():
    pulse = Pulse(20)
    assert pulse.beat(20, heard=0, unsent=9_000_000, busy=True, wall=20) == "ping"
    assert pulse.beat(30, heard=0, unsent=5_000_000, busy=True, wall=30) != "dead"


def test_a_machine_that_slept_asks_at_once():
    pulse = Pulse(20)
    assert pulse.beat(5, heard=4, unsent=0, busy=False, wall=1000) == ""
    assert pulse.beat(10, heard=9, unsent=0, busy=False, wall=9000) == "ping"
