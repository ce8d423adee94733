"""Take back what a rollout left: the staged half of a failed one, the branch of a reverted one. Safe to repeat."""

import asyncio
from pathlib import Path

import structlog

from ..rollout.errors import RolloutError, SwitchError
from .context import Context
from .publish import PublishError
from .repository import NO_COMMIT
from .retiring import point_current
from .staging import remove_folder
from .state import Rollout

log = structlog.get_logger("engine.undoing")


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
            remove_folder(context.home.data / change["server"])


async def revert_branch(context: Context, row: Rollout) -> str:
    """Branch and `current` follow what serves again; what went wrong with the branch, or empty."""
    before = context.state.release(row.project, row.before)
    repository = context.repository(row.project)
    try:
        point_current(context.home.projects / row.project, Path(before.folder) if before else None)
        if await asyncio.to_thread(repository.head) != row.commit_id:
            return ""  # it never got there
        if row.old_commit == NO_COMMIT:
            await asyncio.to_thread(repository.remove_branch, row.commit_id)
        elif row.old_commit != row.commit_id:
            await asyncio.to_thread(repository.move, row.old_commit, row.commit_id)
    except (SwitchError, OSError) as exc:
        log.error("revert.branch", rollout=row.id, reason=str(exc))
        return f"the branch could not be moved back: {exc}"
    return ""
