"""The end of a rollout that failed: what it left is taken back, and whoever asked for it is told. Safe to repeat.

Before the switch only what was staged goes; after it the old releases serve again, and the branch follows them. Used
by `engine.running`.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ..rollout import states
from ..rollout.data import folder_of
from ..rollout.errors import RolloutError, SwitchError, WatchError
from ..rollout.states import Stage
from . import answers
from .context import Context
from .publish import PublishError
from .repository import NO_COMMIT
from .retiring import Retiring, point_current
from .staging import remove_folder
from .state import Rollout, StateError, now

if TYPE_CHECKING:
    from .running import Running

log = structlog.get_logger("engine.undoing")

AGAIN_S = 2.0
"""How often going back is tried while the disk refuses it."""


class Undoing:
    """Of one rollout."""

    def __init__(self, context: Context, running: "Running", retiring: Retiring) -> None:
        self._context = context
        self._running = running
        self._retiring = retiring

    async def fail(self, error: RolloutError) -> None:
        """Back to the state before, whatever the stage; told to the pusher, or at the head of the next push."""
        running = self._running
        if running.stage in states.TERMINAL:
            return
        log.warning("rollout.failed", rollout=running.row.id, stage=str(running.stage), reason=str(error))
        with contextlib.suppress(StateError):
            self._context.state.do("rollout_error", id=running.row.id, error=json.dumps(error.event()))
        if running.stage in (Stage.WATCHING, Stage.HOLDING):
            await self._revert(error)
        else:
            if running.stage not in (Stage.QUEUED, Stage.PLANNING):
                await clean(self._context, running.row, running.folder)
            if running.stage is Stage.PLANNING:
                await self._unmove()
            running.end(Stage.FAILED)
        running.error = error
        self._refuse(error)
        if running.stage is Stage.FAILED:
            self._retiring.begin()  # an environment that only this one needed goes
        running.handed_over.set()
        running.planned.set()
        running.close()

    async def _unmove(self) -> None:
        """Where no server changed the branch moves before that is stored: stopped in between, it goes back."""
        row = self._running.row
        project = self._context.state.project(row.project)
        if not row.old_commit or project is None or project.commit_id == row.commit_id:
            return
        try:
            await _branch_back(self._context, row)
        except SwitchError as exc:
            log.error("unmove.branch", rollout=row.id, reason=str(exc))

    async def finish_revert(self) -> None:
        """A revert that an engine before us began: the old releases serve, the rest is still to be done and told."""
        running = self._running
        kept = running.row.error
        await self._revert_branch()
        running.error = WatchError(str(kept.get("cause") or "it was taken back"), server=str(kept.get("server") or ""))
        self._refuse(running.error)
        running.close()

    def _refuse(self, error: RolloutError) -> None:
        running, row, state = self._running, self._running.row, self._context.state
        late = running.feed.told("done")
        running.emit(error.event())
        refused = json.dumps({"commit": row.commit_id, "why": str(error), "at": now()})
        with contextlib.suppress(StateError):
            state.do("project_refused", name=row.project, refused=refused)
        if not running.answered.done():
            running.answered.set_result(answers.refused(row, error))
        if late and running.stage is Stage.REVERTED:
            text = f"v{row.release} ({row.commit_id[:7]}) was taken back after its push had succeeded: {error}"
            with contextlib.suppress(StateError):
                state.do("project_headline", name=row.project, headline=text)

    async def _revert(self, error: RolloutError) -> None:
        running = self._running
        running.emit({"type": "line", "text": f"going back to v{running.row.before}: {error}"})
        event = states.move(running.stage, Stage.REVERTING)
        version = await self._switch_back()
        running.stage = Stage.REVERTING
        running.emit(event)
        with contextlib.suppress(RolloutError):
            await running.serving.acknowledged(version)
        await self._revert_branch()
        self._retiring.begin()

    async def _switch_back(self) -> int:
        """The old releases serve again, as soon as that can be written: no other state is a defined one."""
        running, told = self._running, False
        while True:
            try:
                return running.serving.revert(lambda: running.store(Stage.REVERTING))
            except PublishError as exc:
                log.error("revert.not_written", rollout=running.row.id, reason=str(exc))
                if not told:
                    running.emit({"type": "line", "text": f"cannot go back yet: {exc}. Trying again until it works"})
                told = True
                await asyncio.sleep(AGAIN_S)

    async def _revert_branch(self) -> None:
        """The second half of a revert: branch and `current` follow what serves again."""
        if trouble := await revert_branch(self._context, self._running.row):
            self._running.emit({"type": "line", "text": trouble})
        self._running.end(Stage.REVERTED)


async def clean(context: Context, row: Rollout, folder: Path) -> None:
    """Remove what was staged: programs, then folders (that frees a full disk), then records. Logs what it cannot do."""
    state = context.state
    rows = [r for r in state.server_releases() if r.rollout == row.id and r.state == "staged"]
    try:
        await context.programs.remove(rows)
    except RolloutError as exc:
        log.error("clean.programs", rollout=row.id, reason=str(exc))
    await asyncio.to_thread(remove_folder, folder)

    def forget() -> None:
        for each in rows:
            state.do("drop_server_release", server=each.server, release=each.release)
        release = state.release(row.project, row.release)
        if release is not None and release.rollout == row.id:
            state.do("drop_release", project=row.project, number=row.release)

    try:
        context.publisher.commit(forget)
    except PublishError as exc:
        log.error("clean.records", rollout=row.id, reason=str(exc))
    _remove_new_data(context, row)


def _remove_new_data(context: Context, row: Rollout) -> None:
    """The data folder of a server that never served holds nothing that anybody could miss."""
    known = context.state.servers()
    for change in row.plan:
        if change["change"] == "new" and change["server"] not in known:
            folder = folder_of(context.home, row.project, change["server"])
            remove_folder(folder)
            with contextlib.suppress(OSError):  # the project's other servers have data
                folder.parent.rmdir()


async def revert_branch(context: Context, row: Rollout) -> str:
    """Branch and `current` follow what serves again; what went wrong with the branch, or empty."""
    before = context.state.release(row.project, row.before)
    try:
        point_current(context.home.projects / row.project, Path(before.folder) if before else None)
        await _branch_back(context, row)
    except (SwitchError, OSError) as exc:
        log.error("revert.branch", rollout=row.id, reason=str(exc))
        return f"the branch could not be moved back: {exc}"
    return ""


async def _branch_back(context: Context, row: Rollout) -> None:
    """From the rollout's commit to the one before; nothing if it never got there. Raises `SwitchError`."""
    repository = context.repository(row.project)
    if await asyncio.to_thread(repository.head) != row.commit_id:
        return
    if row.old_commit == NO_COMMIT:
        await asyncio.to_thread(repository.remove_branch, row.commit_id)
    elif row.old_commit != row.commit_id:
        await asyncio.to_thread(repository.move, row.old_commit, row.commit_id)
