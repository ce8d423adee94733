"""Who asks for the steps of a rollout: ansible-playbook (a push), an operator's playbook, or the engine (a rollback).

Whoever it is may go away at any moment; before the switch that takes the rollout back, after it the engine goes on.
Used by `engine.running`.
"""

import asyncio
import contextlib
import json
import shutil
from typing import TYPE_CHECKING

from ..home import Home
from ..rollout.errors import Stopped
from ..rollout.states import Stage
from .context import Context
from .playbook import Playbook

if TYPE_CHECKING:
    from .running import Running

STEP_IDLE_S = 60.0
"""A playbook run by hand that asks for no further step for this long has stopped."""
LOOK_S = 1.0
NEEDED_BYTES = 4 << 20
"""ansible-playbook needs about a quarter of it for its temporary files."""


class Driver:
    """Of one rollout, from the plan to the long watch."""

    def __init__(self, context: Context, running: "Running") -> None:
        self._context = context
        self._running = running
        self._playbook: Playbook | None = None

    async def drive(self) -> None:
        """Return when the rollout has been handed over to the long watch. Raises the `RolloutError` that ended it."""
        source = self._running.row.source
        if source == "playbook":
            await self._by_hand()
        elif source == "rollback":
            await self._steps("stage", "switch", "watch", "retire")
        else:
            await self._by_ansible()

    async def end(self) -> None:
        """End the playbook that runs, if one does."""
        if self._playbook is not None:
            await self._playbook.end()

    async def _by_ansible(self) -> None:
        """The playbook asks for the steps. When it ends early the engine goes on, or takes back."""
        running, row = self._running, self._running.row
        playbook = self._playbook = await Playbook.start(self._context.home, row.project, row.id)
        self._context.state.do("rollout_playbook", id=row.id, playbook=json.dumps(playbook.record))
        status = await playbook.wait()
        async with running.stepping:  # a step that it asked for last may still be under way
            pass
        if running.stage in (Stage.STAGING, Stage.STAGED):
            raise Stopped(
                f"ansible-playbook ended with status {status} before the switch",
                stage="playbook",
                log_tail=playbook.tail(),
                hint=_hint(self._context.home, playbook),
            )
        if running.stage is Stage.WATCHING:
            await self._steps("watch", "retire")

    async def _by_hand(self) -> None:
        running = self._running
        while not running.handed_over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.handed_over.wait(), LOOK_S)
            idle = asyncio.get_running_loop().time() - running.last_step
            if idle > STEP_IDLE_S and not running.stepping.locked() and not running.handed_over.is_set():
                if running.stage is Stage.WATCHING:
                    await self._steps("watch", "retire")
                    return
                raise Stopped(f"the playbook asked for no step for {STEP_IDLE_S:.0f} s", hint="run it again")

    async def _steps(self, *names: str) -> None:
        for name in names:
            await self._running.step(name)


def _hint(home: Home, playbook: Playbook) -> str:
    """What to do about a playbook that has died: on a full disk it could not even say why."""
    free = shutil.disk_usage(home.root).free
    if free < NEEDED_BYTES:
        return f"the disk of {home.root} has only {free >> 10} KiB left; make room and push again"
    return f"{playbook.output} has all it said"
