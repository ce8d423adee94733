"""The stages of a rollout: an enum, a table of allowed moves, one function that moves and emits one event.

Pure. The engine stores the stage (`state.db`) in the same step in which `move` returns.

    queued -> planning -> staging -> staged -> switching -> watching -> holding -> done
                  |          |          |          |            |          |
              unchanged    failed    failed    reverting <------+----------+
                                                   |
                                                reverted
"""

from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    QUEUED = "queued"  # waits for the project's lock
    PLANNING = "planning"  # reads the commit, compares
    STAGING = "staging"  # builds, starts and gates beside what serves
    STAGED = "staged"  # passed the gate; nothing of it serves
    SWITCHING = "switching"  # the commit point lies in here
    WATCHING = "watching"  # serves; the pusher still waits
    HOLDING = "holding"  # serves, answered; the long watch
    REVERTING = "reverting"  # back to the releases before
    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    REVERTED = "reverted"


TERMINAL = frozenset({Stage.DONE, Stage.UNCHANGED, Stage.FAILED, Stage.REVERTED})
SERVING = frozenset({Stage.SWITCHING, Stage.WATCHING, Stage.HOLDING})
"""Stages in which a failure means a revert; before them it only removes what was staged."""

MOVES: dict[Stage, frozenset[Stage]] = {
    Stage.QUEUED: frozenset({Stage.PLANNING, Stage.FAILED}),
    Stage.PLANNING: frozenset({Stage.STAGING, Stage.UNCHANGED, Stage.FAILED}),
    Stage.STAGING: frozenset({Stage.STAGED, Stage.FAILED}),
    Stage.STAGED: frozenset({Stage.SWITCHING, Stage.FAILED}),
    Stage.SWITCHING: frozenset({Stage.WATCHING, Stage.REVERTING, Stage.FAILED}),
    Stage.WATCHING: frozenset({Stage.HOLDING, Stage.REVERTING}),
    Stage.HOLDING: frozenset({Stage.DONE, Stage.REVERTING}),
    Stage.REVERTING: frozenset({Stage.REVERTED}),
    Stage.DONE: frozenset(),
    Stage.UNCHANGED: frozenset(),
    Stage.FAILED: frozenset(),
    Stage.REVERTED: frozenset(),
}


class NotAllowed(Exception):
    """A rollout was told to do a step that its stage does not allow."""

    def __init__(self, now: Stage, wanted: Stage) -> None:
        super().__init__(f"a rollout that is {now} cannot become {wanted}")


def move(now: Stage, wanted: Stage) -> dict[str, Any]:
    """The one door from stage to stage: the event to emit. Raises `NotAllowed`."""
    if wanted not in MOVES[now]:
        raise NotAllowed(now, wanted)
    return {"type": "stage", "name": str(wanted), "state": "ended" if wanted in TERMINAL else "began"}


def interrupted(now: Stage) -> Stage:
    """What a rollout becomes when the engine finds it unfinished at its start.

    Before the commit point it has failed. A rollout at `switching` has not committed (the commit moves it to
    `watching` in the same transaction). One that serves goes on serving: the pusher has gone, the branch follows.
    """
    if now in TERMINAL:
        return now
    if now in (Stage.WATCHING, Stage.HOLDING):
        return Stage.HOLDING
    if now is Stage.REVERTING:
        return Stage.REVERTED
    return Stage.FAILED
