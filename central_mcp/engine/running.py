"""One rollout: its steps, told as events, always in a defined state.

Who asks for the steps lies in `driving`, what they do in `staging`, `serving` and `retiring`, how a failure is taken
back in `undoing`; which move is allowed in `rollout.states`. Made by `engine.rollouts`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from .. import registry
from ..rollout import states
from ..rollout.errors import PlanError, RolloutError, Stopped, SwitchError, WatchError
from ..rollout.plan import Plan, Registered
from ..rollout.states import Stage
from . import answers, driving, planning, undoing
from .context import Context
from .events import Feed
from .locks import Holder
from .publish import PublishError
from .repository import MANIFEST
from .retiring import Retiring, point_current
from .serving import Serving
from .staging import Staging
from .state import Rollout, ServerRelease, StateError, now

log = structlog.get_logger("engine.rollouts")

WATCH_EVERY_S = 1.0
ENOUGH_S = 60.0
"""Seconds that a newer rollout waits for the end of the long watch before it."""
Settle = Callable[[str], Awaitable[None]]
Reserved = Callable[[], list[Registered]]
STEPS = ("stage", "switch", "watch", "retire", "revert")


class Running:
    """One rollout in this engine."""

    def __init__(
        self, context: Context, retiring: Retiring, settle: Settle, reserved: Reserved, row: Rollout, back_to: int = 0
    ) -> None:
        """`settle` ends the long watch of the project's rollout before; `reserved`: names and ports that other rollouts
        under way will take; `back_to`: a release to serve again.
        """
        self._context = context
        self._retiring = retiring
        self._settle = settle
        self._reserved = reserved
        self.row = row
        self.feed = Feed(context.state, row.id)
        self.stage = Stage(row.stage)
        self.serving = Serving(context, row)
        self.error: RolloutError | None = None
        self.answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self._back_to = back_to
        self._what: planning.Declared | None = None
        self.plan: Plan | None = None
        self._subject = ""
        self._staging: Staging | None = None
        self._staged: list[ServerRelease] = []
        self.stepping = asyncio.Lock()
        self.last_step = asyncio.get_running_loop().time()
        self.handed_over = asyncio.Event()
        """The long watch has begun, or all is over: no step will come."""
        self.planned = asyncio.Event()
        """There is a plan, or there will be none: steps may come."""
        self._enough = asyncio.Event()
        self.driver = driving.Driver(context, self)
        self.undoing = undoing.Undoing(context, self, retiring)

    # the whole way

    async def run(self) -> None:
        """From the lock to the hand-over to the long watch. Never raises but for cancellation."""
        row, settings = self.row, self._context.home.settings
        try:
            async with self._context.locks.hold(
                row.project, row.id, row.who, row.commit_id, settings.lock_wait, self._waiting
            ):
                await self._under_lock()
        except RolloutError as exc:
            await self.undoing.fail(exc)
        except (StateError, PublishError, OSError) as exc:
            await self.undoing.fail(RolloutError(str(exc), hint="is the disk full? `central doctor` tells"))
        except Exception as exc:  # the boundary of one rollout: whatever it was, the old state serves
            log.exception("rollout.broken", rollout=row.id)
            await self.undoing.fail(
                RolloutError(f"the engine made a mistake: {exc!r}", hint="log/engine.log has the details")
            )
        finally:
            if self.stage in states.TERMINAL:
                self.close()

    async def _under_lock(self) -> None:
        self.move(Stage.PLANNING)
        await self._settle(self.row.project)
        await self._retiring.tidied()
        await self._make_plan()
        assert self.plan is not None
        if "check" in self.row.options:
            raise PlanError("checked only, nothing was deployed (push option `check`)", hint="push without `-o check`")
        if self.plan.unchanged:
            await self._unchanged()
            self.planned.set()
            return
        self.move(Stage.STAGING)
        self.planned.set()
        await self.driver.drive()

    async def _make_plan(self) -> None:
        context, row = self._context, self.row
        repository = context.repository(row.project)
        head = await asyncio.to_thread(repository.head)
        if row.old_commit and head != row.old_commit:
            raise PlanError(
                f"{repository.ref} is at {head[:7]} by now, not at {row.old_commit[:7]}",
                stage="lock",
                hint="git pull --rebase, then push again",
            )
        if self._back_to:
            self._what = planning.of_release(context.state, row.project, self._back_to)
        else:
            self._what = await asyncio.to_thread(planning.declared, context.home, repository, row.commit_id)
        self._subject = (await asyncio.to_thread(repository.commit, row.commit_id)).subject
        self.plan = planning.make(context.home, context.state, row.project, self._what, self._reserved())
        if self.plan.problems:
            raise planning.as_error(self.plan)
        before = context.state.project(row.project)
        assert before is not None
        with context.state.transaction():
            context.state.do("rollout_old_commit", id=row.id, old_commit=head)
            context.state.do(
                "rollout_plan",
                id=row.id,
                plan=planning.as_json(self.plan),
                release=self.plan.release,
                before=before.release,
            )
        self._reread()
        for event in answers.plan(self.plan, before.headline):
            self.emit(event)
        if before.headline:
            context.state.do("project_headline", name=row.project, headline="")

    async def _unchanged(self) -> None:
        await self._move_branch()
        state = self._context.state
        with state.transaction():
            project = state.project(self.row.project)
            assert project is not None
            state.do("project_serves", name=project.name, release=project.release, commit_id=self.row.commit_id)
            state.do("project_refused", name=project.name, refused="")
            self.store(Stage.UNCHANGED)
        self.emit(states.move(self.stage, Stage.UNCHANGED))
        self.stage = Stage.UNCHANGED
        self._answer("unchanged")

    # steps

    async def step(self, name: str) -> dict[str, Any]:
        """One step of the playbook. Raises the `RolloutError` that failed it; by then all is taken back."""
        await self.planned.wait()
        if self.error is not None:
            raise self.error
        if self.stage is Stage.UNCHANGED:
            return self.summary()
        async with self.stepping:
            self.last_step = asyncio.get_running_loop().time()
            try:
                if name == "stage":
                    await self._stage()
                elif name == "switch":
                    await self._switch()
                elif name == "watch":
                    await self._watch()
                elif name == "retire":
                    self._retire()
                elif self.stage not in states.TERMINAL:
                    raise Stopped("the playbook asked to revert", stage="playbook")
            except RolloutError as exc:
                await self.undoing.fail(exc)
                raise
            except (StateError, PublishError, OSError) as exc:
                error = SwitchError(str(exc), stage=name, hint="is the disk full? `central doctor` tells")
                await self.undoing.fail(error)
                raise error from exc
            finally:
                self.last_step = asyncio.get_running_loop().time()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        return {"rollout": self.row.id, "stage": str(self.stage), "release": self.row.release, "plan": self.row.plan}

    async def _stage(self) -> None:
        self._must_be(Stage.STAGING)
        assert self.plan is not None
        assert self._what is not None
        row, home = self.row, self._context.home
        folder = self.folder
        state = self._context.state
        with state.transaction():
            state.do("project_numbered", name=row.project, number=row.release)
            state.do(
                "add_release",
                project=row.project,
                number=row.release,
                commit_id=row.commit_id,
                subject=self._subject,
                manifest=self._what.manifest,
                folder=str(folder),
                state="staged",
                at=now(),
                rollout=row.id,
            )
        folder.mkdir(parents=True)
        registry.write_atomic(folder / MANIFEST, self._what.manifest.encode())
        self._staging = Staging(self._context, row.id, row.project, row.commit_id, folder, self._what, self.emit)
        log.info("stage", rollout=row.id, project=row.project, release=row.release, home=str(home.root))
        self._staged = await self._staging.run(self.plan.staged)
        self.move(Stage.STAGED)

    async def _switch(self) -> None:
        self._must_be(Stage.STAGED)
        self.serving = serving = Serving(self._context, self.row)
        await serving.read_before()
        self.move(Stage.SWITCHING)
        try:
            version = serving.switch(self._staged)
        finally:
            self._reread()
        self.emit(states.move(Stage.SWITCHING, Stage.WATCHING))
        await serving.acknowledged(version)
        live = now() - self.row.started
        self._context.state.do("rollout_live", id=self.row.id, live_s=live)
        self.emit({"type": "live", "seconds": round(live, 2)})
        await self._keep()
        await serving.warm()
        if "detach" in self.row.options:
            await self._deployed()

    async def _keep(self) -> None:
        """What serves can be found: by `current`, and by git, which must not tidy its commit away."""
        await asyncio.to_thread(self._context.repository(self.row.project).keep, self.row.release, self.row.commit_id)
        point_current(self._context.home.projects / self.row.project, self.folder)

    async def _watch(self) -> None:
        self._must_be(Stage.WATCHING)
        if self.answered.done():
            return
        settings = self._context.home.settings
        seconds = min(settings.watch_first, self.serving.watch_seconds())
        if seconds:
            self.emit({"type": "line", "text": f"live; watching real calls for {seconds:g} s"})
        await self._watch_for(seconds)
        await self._deployed()

    async def _watch_for(self, seconds: float) -> None:
        """Compare for so long, or until `_enough`. Raises `WatchError`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0 and not self._enough.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), min(WATCH_EVERY_S, left))
            if why := await self.serving.watch_once():
                raise WatchError(why, hint="the old releases serve again; look at `central logs SERVER`")

    def _retire(self) -> None:
        self._must_be(Stage.WATCHING)
        self.move(Stage.HOLDING)
        self.task = asyncio.get_running_loop().create_task(self.hold(), name=f"hold {self.row.id}")
        self.handed_over.set()

    async def go_on(self) -> None:
        """`hold` for an engine that finds the rollout serving: first what the one before may not have come to do."""

        async def catch_up() -> None:
            await self._keep()
            if not self.feed.told("done"):
                await self._deployed()

        await self.hold(catch_up)

    async def hold(self, first: Callable[[], Awaitable[None]] | None = None) -> None:
        """The long watch, then retire the old releases. Nobody waits for it."""
        try:
            if first is not None:
                await first()
            await self._watch_for(self.serving.watch_seconds())
        except RolloutError as exc:
            await self.undoing.fail(exc)
            return
        except Exception as exc:  # the boundary of the long watch: whatever it was, the rollout ends
            log.exception("rollout.broken", rollout=self.row.id)
            await self.undoing.fail(WatchError(f"{exc or repr(exc)}", hint="log/engine.log has the details"))
            return
        with contextlib.suppress(StateError):
            self.move(Stage.DONE)
        self.close()
        self._retiring.begin()

    async def enough(self) -> None:
        """End the long watch now: a newer rollout of the project takes over."""
        self._enough.set()
        if self.task is not None and self.stage in (Stage.HOLDING, Stage.REVERTING):
            await asyncio.wait({self.task}, timeout=ENOUGH_S)

    # answers

    async def _deployed(self) -> None:
        await self._move_branch()
        with self._context.state.transaction():
            self._context.state.do("project_refused", name=self.row.project, refused="")
        self._answer("rolled-back" if self.row.source == "rollback" else "deployed")

    async def _move_branch(self) -> None:
        """Compare-and-swap, right before the answer. Raises `SwitchError`."""
        row = self.row
        repository = self._context.repository(row.project)
        if await asyncio.to_thread(repository.head) != row.commit_id:  # it is, when an engine before us was killed
            await asyncio.to_thread(repository.move, row.commit_id, row.old_commit)
        self._context.state.do("rollout_moved", id=row.id, moved=1)
        self._reread()

    def _answer(self, outcome: str) -> None:
        if not self.answered.done():
            self._reread()
            done = answers.deployed(
                self._context.state, self.row, outcome, self._staging.seconds if self._staging else {}
            )
            self.emit({"type": "done", **done})
            self.answered.set_result(done)

    # small things

    @property
    def folder(self) -> Path:
        name = f"{self.row.release}-{self.row.commit_id[:7]}"
        return self._context.home.projects / self.row.project / "releases" / name

    def emit(self, event: dict[str, Any]) -> None:
        self.feed.emit(event)

    def move(self, wanted: Stage) -> None:
        """To the next stage: stored, then told."""
        event = states.move(self.stage, wanted)
        self.store(wanted)
        self.stage = wanted
        self.emit(event)

    def end(self, stage: Stage) -> None:
        """To a terminal stage, also on a full disk."""
        try:
            self.move(stage)
        except StateError as exc:  # the next start of the engine will find it unfinished and say the same
            log.error("rollout.not_stored", rollout=self.row.id, reason=str(exc))
            self.stage = stage

    def store(self, stage: Stage) -> None:
        """Note the stage in state.db and nowhere else. Raises `StateError`."""
        finished = now() if stage in states.TERMINAL else None
        self._context.state.do("rollout_stage", id=self.row.id, stage=str(stage), finished=finished)

    def _reread(self) -> None:
        row = self._context.state.rollout(self.row.id)
        assert row is not None
        self.row = row
        self.stage = Stage(row.stage)

    def _must_be(self, wanted: Stage) -> None:
        if self.stage is not wanted:
            raise states.NotAllowed(self.stage, wanted)

    def _waiting(self, holder: Holder) -> None:
        self.emit({"type": "line", "text": f"waiting: {holder}"})

    def close(self) -> None:
        self.feed.close()
