"""The stages of a rollout: which move is allowed, what an interruption means."""

import pytest

from central_mcp.rollout.states import MOVES, TERMINAL, NotAllowed, Stage, interrupted, move


def test_every_stage_reaches_an_end_and_an_end_leads_nowhere() -> None:
    for stage in Stage:
        seen, front = {stage}, {stage}
        while front:
            front = {later for now in front for later in MOVES[now]} - seen
            seen |= front
        assert seen & TERMINAL
    assert all(MOVES[stage] == frozenset() for stage in TERMINAL)


def test_a_move_gives_one_event_and_a_forbidden_one_is_refused() -> None:
    assert move(Stage.STAGING, Stage.STAGED) == {"type": "stage", "name": "staged", "state": "began"}
    assert move(Stage.HOLDING, Stage.DONE)["state"] == "ended"
    with pytest.raises(NotAllowed, match="queued cannot become watching"):
        move(Stage.QUEUED, Stage.WATCHING)


def test_an_interrupted_rollout_fails_before_the_commit_and_serves_on_after_it() -> None:
    before = (Stage.QUEUED, Stage.PLANNING, Stage.STAGING, Stage.STAGED, Stage.SWITCHING)
    assert {interrupted(stage) for stage in before} == {Stage.FAILED}
    assert {interrupted(stage) for stage in (Stage.WATCHING, Stage.HOLDING)} == {Stage.HOLDING}
    assert interrupted(Stage.REVERTING) is Stage.REVERTED
    assert all(interrupted(stage) is stage for stage in TERMINAL)
