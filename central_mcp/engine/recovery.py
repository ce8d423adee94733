"""The start of the engine: end what was left over, bring every unfinished rollout into a defined state, regenerate.

Reads only state.db and the disk; safe to be killed in, since the next start begins anew.
"""

import structlog

from ..rollout.errors import RolloutError, Stopped
from ..rollout.states import Stage, interrupted
from .back import BackError
from .context import Context
from .playbook import end_left_over
from .rollouts import Rollouts
from .running import Running
from .state import Rollout, StateError

log = structlog.get_logger("engine.recovery")


async def recover(context: Context, rollouts: Rollouts) -> None:
    """Called before the socket opens. Logs what it found."""
    if unfinished := context.publisher.remove_unfinished():
        log.warning("unfinished.removed", files=unfinished)
    context.publisher.read_version()
    going_on: list[Running] = []
    for row in context.state.open_rollouts():
        if await end_left_over(context.home, row.project, row.playbook):
            log.warning("playbook.ended", rollout=row.id)
        await settle(context, rollouts, row, going_on)
    _drop_staged(context)
    version = context.publisher.commit()
    left = await _reconcile(context)
    if left:
        log.warning("left_over.removed", what=left)
    await _acknowledge(context, version)
    rollouts.retiring.begin()


async def settle(context: Context, rollouts: Rollouts, row: Rollout, going_on: list[Running]) -> None:
    """One unfinished rollout: failed, going on, or reverted to the end."""
    target = interrupted(Stage(row.stage))
    log.warning("rollout.interrupted", rollout=row.id, was=row.stage, becomes=str(target))
    if target is Stage.HOLDING:
        if row.stage == Stage.WATCHING:
            context.state.do("rollout_stage", id=row.id, stage=str(Stage.HOLDING), finished=None)
        stored = context.state.rollout(row.id)
        assert stored is not None
        going_on.append(rollouts.resume(stored))
        return
    running = rollouts.found(row)
    if target is Stage.REVERTED:
        await running.undoing.finish_revert()
        return
    why = Stopped(f"the engine was restarted while it was {row.stage}", hint="nothing was changed; push again")
    await running.undoing.fail(why)


def _drop_staged(context: Context) -> None:
    """Records of staged server-releases whose rollout is over: their removal was cut short."""
    open_ones = {row.id for row in context.state.open_rollouts()}
    try:
        with context.state.transaction():
            for row in context.state.server_releases():
                if row.state == "staged" and row.rollout not in open_ones:
                    context.state.do("drop_server_release", server=row.server, release=row.release)
            for project in context.state.projects():
                for release in context.state.releases(project.name):
                    if release.state == "staged" and release.rollout not in open_ones:
                        context.state.do("drop_release", project=project.name, number=release.number)
    except StateError as exc:
        log.error("records.not_dropped", reason=str(exc))


async def _reconcile(context: Context) -> list[str]:
    try:
        return await context.programs.reconcile(context.state.server_releases())
    except RolloutError as exc:
        log.error("programs.not_reconciled", reason=str(exc))
        return []


async def _acknowledge(context: Context, version: int) -> None:
    """A router that runs takes the snapshot now; one that is only starting reads it by itself."""
    if not context.back.up:
        return
    try:
        await context.back.reload(version)
    except BackError as exc:
        log.warning("router.not_ready", reason=str(exc))
