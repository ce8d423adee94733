"""All rollouts of this engine: begun by a request, found or resumed after a restart."""

import asyncio
import json
from collections.abc import Sequence

import structlog

from ..rollout import states
from ..rollout.plan import Registered
from ..rollout.states import Stage
from .context import Context
from .retiring import Retiring
from .running import Running
from .state import Rollout, now

BEFORE_SWITCH = frozenset({Stage.PLANNING, Stage.STAGING, Stage.STAGED, Stage.SWITCHING})

log = structlog.get_logger("engine.rollouts")


class Rollouts:
    """All rollouts of this engine."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: dict[int, Running] = {}
        self.retiring = Retiring(context, self._open, self._staging)

    def begin(
        self,
        project: str,
        commit: str,
        *,
        who: str,
        source: str,
        old: str = "",
        options: Sequence[str] = (),
        back_to: int = 0,
    ) -> Running:
        """Start a rollout of a full commit id. Raises `StateError`."""
        number = self._context.state.do(
            "add_rollout",
            project=project,
            commit_id=commit,
            old_commit=old,
            who=who,
            source=source,
            options=json.dumps(list(options)),
            stage=str(Stage.QUEUED),
            started=now(),
        )
        row = self._context.state.rollout(number)
        assert row is not None
        running = self._add(row, back_to)
        running.task = asyncio.get_running_loop().create_task(running.run(), name=f"rollout {number}")
        log.info("begin", rollout=number, project=project, commit=commit, who=who, source=source)
        return running

    def get(self, rollout: int) -> Running | None:
        return self._running.get(rollout)

    def under_way(self, project: str) -> Running | None:
        """The rollout of a project that is not over, the newest."""
        open_ones = [r for r in self._running.values() if r.row.project == project and r.stage not in states.TERMINAL]
        return open_ones[-1] if open_ones else None

    def resume(self, row: Rollout) -> Running:
        """Go on with the long watch of a rollout that an engine before us began."""
        running = self._add(row, 0)
        running.task = asyncio.get_running_loop().create_task(running.go_on(), name=f"hold {row.id}")
        return running

    def found(self, row: Rollout) -> Running:
        """An interrupted rollout, to be taken back."""
        return self._add(row, 0)

    async def close(self) -> None:
        """End what runs here; state.db says what the next engine has to do."""
        tasks = []
        for running in self._running.values():
            await running.driver.end()
            if running.task is not None:
                running.task.cancel()
                tasks.append(running.task)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, row: Rollout, back_to: int) -> Running:
        for old in [n for n, r in self._running.items() if r.stage in states.TERMINAL]:
            del self._running[old]
        running = Running(self._context, self.retiring, self._settle, self._reserved, row, back_to)
        self._running[row.id] = running
        return running

    async def _settle(self, project: str) -> None:
        for running in list(self._running.values()):
            if running.row.project == project and running.stage in (Stage.HOLDING, Stage.REVERTING):
                await running.enough()

    def _open(self) -> set[int]:
        return {row.id for row in self._context.state.open_rollouts()}

    def _staging(self) -> bool:
        return any(running.stage in (Stage.PLANNING, Stage.STAGING) for running in self._running.values())

    def _reserved(self) -> list[Registered]:
        """What rollouts under way have planned and not yet switched to: a name and a port go to one of them only."""
        return [
            Registered(change.server, running.row.project, change.category, change.port)
            for running in self._running.values()
            if running.plan is not None and running.stage in BEFORE_SWITCH
            for change in running.plan.staged
        ]
