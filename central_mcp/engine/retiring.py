"""Retire what no longer serves: drain it, take its program away; then tidy what no kept release needs.

Everything here can be done again and again: it starts from state.db, so an engine killed in the middle just goes on.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from ..home import Home
from ..rollout.environment import remove_unused
from ..rollout.errors import RolloutError
from .back import BackError
from .context import Context
from .publish import PublishError
from .staging import remove_folder
from .state import ServerRelease

log = structlog.get_logger("engine.retiring")

KEPT_RELEASES = 10
"""Releases of a project that can be rolled back to; older records and folders go."""
KEPT_ROLLOUTS = 100


class Retiring:
    def __init__(self, context: Context, open_rollouts: Callable[[], set[int]], staging: Callable[[], bool]) -> None:
        """`open_rollouts`: those that may still revert, so their old releases stay. `staging`: builds under way."""
        self._context = context
        self._open = open_rollouts
        self._staging = staging
        self._going: set[str] = set()
        self._tidying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """`run` in the background: draining may take as long as the longest call."""
        task = asyncio.get_running_loop().create_task(self.run(), name="retire")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Retire all that is draining and not held by an open rollout, then tidy. Logs what it cannot do."""
        held = self._open()
        rows = [
            row
            for row in self._context.state.server_releases()
            if row.state == "draining" and row.rollout not in held and row.name not in self._going
        ]
        names = {row.name for row in rows}
        self._going |= names
        try:
            await asyncio.gather(*(self._drain(row) for row in rows))
            await self._remove(rows)
        except (RolloutError, PublishError) as exc:
            log.error("retire.failed", servers=sorted(names), reason=str(exc))
        finally:
            self._going -= names
        await self.tidy()

    async def _drain(self, row: ServerRelease) -> None:
        try:
            cut = await self._context.back.drain(row.server, row.release, float(row.route["call_s"]))
        except BackError as exc:
            log.warning("drain.failed", server=row.name, reason=str(exc))
        else:
            log.info("drained", server=row.name, cut_off=cut)

    async def _remove(self, rows: Sequence[ServerRelease]) -> None:
        await self._context.programs.remove(rows)
        state = self._context.state

        def retired() -> None:
            for row in rows:
                state.do(
                    "server_release_state",
                    server=row.server,
                    release=row.release,
                    state="retired",
                    rollout=row.rollout,
                )

        if rows:
            self._context.publisher.commit(retired)

    # tidy

    async def tidied(self) -> None:
        """Wait until nothing is being tidied away: a rollout could want the very environment that goes."""
        async with self._tidying:
            pass

    async def tidy(self) -> None:
        """Drop records, folders and environments that nothing refers to. Best effort: the next run tries again."""
        if self._staging():
            return
        async with self._tidying:
            try:
                self._forget_records()
                await asyncio.to_thread(_remove, self._context.home, *self._unused(), self._unread())
            except Exception as exc:  # noqa: BLE001 - a full disk or a foreign file must not stop other work
                log.warning("tidy.failed", reason=str(exc))

    def _forget_records(self) -> None:
        state = self._context.state
        with state.transaction():
            for project in state.projects():
                self._forget(project.name)
            for row in state.forgotten():
                state.do("drop_server_release", server=row.server, release=row.release)
            state.do("forget_events")

    def _forget(self, project: str) -> None:
        state = self._context.state
        back = [r for r in state.releases(project) if r.state in ("serving", "retired")]
        for old in back[KEPT_RELEASES:]:
            if old.state == "retired":
                state.do("drop_release_servers", project=project, number=old.number)
                state.do("drop_release", project=project, number=old.number)
                self._context.repository(project).forget(old.number)
        for gone in [r for r in state.releases(project) if r.state == "reverted"]:
            state.do("drop_release_servers", project=project, number=gone.number)
        state.do("forget_rollouts", project=project, keep=KEPT_ROLLOUTS)

    def _unused(self) -> tuple[list[Path], set[Path]]:
        """Release folders that may go, and the environments that must stay."""
        home = self._context.home
        rows = self._context.state.server_releases(live=False)
        kept = {Path(row.program["folder"]) for row in rows} | {
            path.resolve() for path in home.projects.glob("*/current")
        }
        folders = [path for path in home.projects.glob("*/releases/*") if not {path, path.resolve()} & kept]
        return folders, {Path(row.program["env_dir"]) for row in rows if row.program["env_dir"]}

    def _unread(self) -> list[Path]:
        """Tool lists of releases, and logs of rollouts, that are forgotten."""
        home, state = self._context.home, self._context.state
        lists = {row.route.get("tools") for row in state.server_releases(live=False)}
        known = {str(number) for number in state.rollout_ids()}
        return [path for path in home.registry.glob("tools/*.json") if path.stem not in lists] + [
            path for path in home.log.glob("rollouts/*.log") if path.stem not in known
        ]


def _remove(home: Home, folders: list[Path], envs: set[Path], files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in folders:
        remove_folder(folder)
    remove_unused(home, envs)


def point_current(project_folder: Path, release_folder: Path | None) -> None:
    """`projects/<project>/current` -> its serving release's folder, replaced in one step."""
    link = project_folder / "current"
    if release_folder is None:
        link.unlink(missing_ok=True)
        return
    making = project_folder / ".current"
    making.unlink(missing_ok=True)
    making.symlink_to(os.path.relpath(release_folder, project_folder))
    making.replace(link)
