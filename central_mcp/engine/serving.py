"""Switch, watch, revert: which server-releases serve. Each change is one commit of `engine.publish`.

The commit point of a rollout is the transaction in `switch`: before it nothing of it serves, after it all does.
"""

import json
from collections.abc import Callable, Sequence

import structlog

from ..rollout.errors import SwitchError
from ..rollout.plan import Change
from ..rollout.states import Stage
from ..rollout.watch import SLOW_IN_A_ROW, Reading, Thresholds, since, slow, verdict
from .back import BackError
from .context import Context
from .state import Rollout, ServerRelease

log = structlog.get_logger("engine.serving")

NOTHING = Reading()


class Serving:
    """The serving half of one rollout."""

    def __init__(self, context: Context, rollout: Rollout) -> None:
        self._context = context
        self._rollout = rollout
        self._changes = [Change(**change) for change in rollout.plan]
        self._before: dict[str, Reading] = {}
        self._start: dict[str, Reading] = {}
        self._slow: dict[str, int] = {}

    # switch

    def switch(self, staged: Sequence[ServerRelease]) -> int:
        """The commit point; the snapshot's version. Raises `publish.PublishError` and then has changed nothing."""
        return self._context.publisher.commit(lambda: self._switch(staged))

    def _switch(self, staged: Sequence[ServerRelease]) -> None:
        state, rollout = self._context.state, self._rollout
        for row in staged:
            state.do("server_release_route", server=row.server, release=row.release, route=json.dumps(row.route))
        for change in self._changes:
            self._switch_one(change)
        if rollout.before:
            state.do("release_state", project=rollout.project, number=rollout.before, state="retired")
        state.do("release_state", project=rollout.project, number=rollout.release, state="serving")
        state.do("project_serves", name=rollout.project, release=rollout.release, commit_id=rollout.commit_id)
        state.do("rollout_stage", id=rollout.id, stage=Stage.WATCHING, finished=None)

    def _switch_one(self, change: Change) -> None:
        state = self._context.state
        owner = state.servers().get(change.server)
        if owner is not None and owner.project not in ("", self._rollout.project):
            raise SwitchError(f"the name belongs to project {owner.project} by now", server=change.server)
        if change.change != "removed":
            state.do(
                "add_release_server",
                project=self._rollout.project,
                number=self._rollout.release,
                server=change.server,
                release=change.release,
            )
        if change.change == "unchanged":
            return
        for row in state.server_releases():
            if row.server == change.server and row.state == "serving":
                self._set(row, "draining")
        if change.change == "removed":
            state.do("disown_server", name=change.server)
            return
        new = state.server_release(change.server, change.release)
        assert new is not None
        self._set(new, "serving")
        self._own(change.server, change.category, change.port)

    def _own(self, server: str, category: str, port: int) -> None:
        self._context.state.do(
            "own_server",
            name=server,
            project=self._rollout.project,
            category=category,
            port=port,
            now=self._rollout.started,
        )

    def _set(self, row: ServerRelease, state: str) -> None:
        self._context.state.do(
            "server_release_state", server=row.server, release=row.release, state=state, rollout=self._rollout.id
        )

    async def acknowledged(self, version: int) -> None:
        """The router serves the new releases. Raises `SwitchError`."""
        try:
            await self._context.back.reload(version)
        except BackError as exc:
            raise SwitchError(
                f"the router does not take the new snapshot: {exc}", hint="look at log/router.log"
            ) from exc

    async def warm(self) -> None:
        """Open the processes that `start: always` promises. A failure here shows in the watch."""
        for row in self.rows("serving"):
            if row.route["start"] == "always":
                try:
                    await self._context.back.warm(row.server, row.release)
                except BackError as exc:
                    log.warning("warm.failed", server=row.name, reason=str(exc))

    # watch

    async def read_before(self) -> None:
        """Note how the old releases did and where the counters of the new ones stand, to compare with."""
        readings = await self._readings()
        for row in self.rows("draining") or self._old_rows():
            self._before[row.server] = readings.get((row.server, row.release), NOTHING)
        for row in self.rows("staged") or self.rows("serving"):
            self._start[row.server] = readings.get((row.server, row.release), NOTHING)

    async def watch_once(self) -> str:
        """Why the new releases must go, or empty."""
        readings = await self._readings()
        for row in self.rows("serving"):
            reading = readings.get((row.server, row.release), NOTHING)
            start = self._start.get(row.server, NOTHING)
            limits = Thresholds(**row.program["thresholds"])
            before, now = self._before.get(row.server, NOTHING), since(start, reading)
            why = verdict(before, now, limits) or self._slow_for_long(row.server, slow(before, now, limits))
            if why:
                return f"{row.name}: {why}"
        return ""

    def _slow_for_long(self, server: str, why: str) -> str:
        self._slow[server] = self._slow.get(server, 0) + 1 if why else 0
        return why if self._slow[server] >= SLOW_IN_A_ROW else ""

    def watch_seconds(self) -> float:
        """How long the manifest wants the replaced servers to be watched; 0 when nothing was replaced."""
        replaced = {c.server for c in self._changes if c.change == "changed"}
        return max((float(r.program["watch"]) for r in self.rows("serving") if r.server in replaced), default=0.0)

    def rows(self, state: str) -> list[ServerRelease]:
        """This rollout's server-releases in `state`."""
        return [r for r in self._context.state.server_releases() if r.rollout == self._rollout.id and r.state == state]

    def _old_rows(self) -> list[ServerRelease]:
        mine = {c.server for c in self._changes if c.change == "changed"}
        return [r for r in self._context.state.server_releases() if r.server in mine and r.state == "serving"]

    async def _readings(self) -> dict[tuple[str, int], Reading]:
        try:
            return await self._context.back.readings()
        except BackError as exc:
            log.warning("watch.no_reading", rollout=self._rollout.id, reason=str(exc))
            return {}

    # revert

    def revert(self, more: Callable[[], None]) -> int:
        """The old releases serve again, in one commit together with `more`; the snapshot's version.

        Raises `publish.PublishError`.
        """

        def change() -> None:
            self._revert()
            more()

        return self._context.publisher.commit(change)

    def _revert(self) -> None:
        state, rollout = self._context.state, self._rollout
        for row in self.rows("serving"):
            self._set(row, "draining")
        old = state.release_servers(rollout.project, rollout.before) if rollout.before else {}
        for change in self._changes:
            if change.change != "unchanged":
                self._revert_one(change, old.get(change.server))
        state.do("release_state", project=rollout.project, number=rollout.release, state="reverted")
        if rollout.before:
            state.do("release_state", project=rollout.project, number=rollout.before, state="serving")
        commit = rollout.old_commit if rollout.before else ""
        state.do("project_serves", name=rollout.project, release=rollout.before, commit_id=commit)

    def _revert_one(self, change: Change, release: int | None) -> None:
        state = self._context.state
        old = state.server_release(change.server, release) if release is not None else None
        owner = state.servers().get(change.server)
        if owner is not None and owner.project not in ("", self._rollout.project):
            log.warning("revert.not_ours", server=change.server, owner=owner.project)  # another took the name since
            return
        if old is None:
            state.do("disown_server", name=change.server)
            return
        self._set(old, "serving")
        self._own(old.server, old.route["category"], old.route["port"])
