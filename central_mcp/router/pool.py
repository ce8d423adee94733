"""All processes of one release of one server, and the calls on their way to them.

A `Lane` is the processes of one key: everybody's (`sessions: shared`, several replicas, the least busy gets the call),
a principal's, or a client session's (one process). Opening, waiting, limits, restarts and idling are decided here;
`opening` does the handshake, `back` the wire, `mourning` tells of a process's death. Owned by `Router`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

import structlog

from central_mcp.protocol.errors import InternalError, Limited, OutcomeUnknown, ProtocolError, TimedOut, Unavailable
from central_mcp.protocol.frames import Head, Kind
from central_mcp.registry import Era, Release

from .back import Back, accept
from .call import Call
from .lane import Lane
from .mourning import mourn
from .opening import OpenFailed, Opening
from .outcomes import Outcomes
from .restarts import STABLE_S, Restarts
from .spawns import Spawns

QUEUE = 1000
QUEUE_BYTES = 16 << 20
"""Calls, and bytes of their bodies, that may wait for one lane to open or to read on."""
SCALE_AT = 4
"""Open calls on the least busy replica from which another is opened."""

log = structlog.get_logger("router")
_monotonic = time.monotonic


class Switchboard(Protocol):
    """What a pool needs of the router."""

    spawns: Spawns

    def again(self, call: Call) -> None: ...
    def lists_changed(self, server: str, method: str) -> None: ...


class Pool:
    """One server-release. `dispatch` takes a call; answers go to the call's front."""

    def __init__(self, board: Switchboard, server: str, release: Release, status: Path) -> None:
        self.board = board
        self.server = server
        self.number = release.release
        self.release = release
        self.status = status
        self.eras: tuple[Era, ...] = release.eras
        self.lanes: dict[tuple[str, str, str], Lane] = {}
        self.restarts = Restarts(release.restart)
        self.outcomes = Outcomes()
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcing: set[str] = set()

    # what there is

    @property
    def name(self) -> str:
        return f"{self.server}@{self.number}"

    @property
    def serving(self) -> bool:
        return self.release.state == "serving" and not self.draining

    @property
    def processes(self) -> int:
        return sum(len(lane.backs) + lane.opening for lane in self.lanes.values())

    @property
    def open(self) -> int:
        """Calls under way or waiting."""
        return sum(lane.open for lane in self.lanes.values())

    def update(self, release: Release, *, draining: bool) -> None:
        """A new snapshot says so of this release."""
        self.release = release
        self.eras = release.eras or self.eras
        self.restarts.policy = release.restart
        self.draining = draining

    # calls

    def dispatch(self, call: Call) -> None:
        """Send `call` to a process, or let it wait for one. Raises `ProtocolError` when there can be none now."""
        lane = self._lane(call.head)
        call.pool = self
        call.lane = lane
        back = lane.best()
        if back is not None:
            accept(back, call)
            if len(back.calls) > SCALE_AT:
                self._grow(lane)
            return
        doing = "does not read its input" if lane.choked else "is starting"
        if len(lane.waiting) >= QUEUE or lane.waiting_bytes > QUEUE_BYTES:
            raise Limited(f"server {self.server} {doing} and {len(lane.waiting)} calls wait for it; try again later")
        if not lane.opening and not lane.choked:
            self._check_may_start()
            self._make_room()
            self._start(lane)
        lane.wait(call)

    def expire(self, call: Call) -> None:
        """The call's time is over."""
        if call.back is not None:
            back = call.back
            written = call.written
            back.cancel(call, "timed out")
            if back.heard < written:
                back.leaving = "it was silent while a call timed out"  # hung: the next call gets a fresh process
        within = f"within {_monotonic() - call.arrived:.1f} s"
        if call.written:
            text = f"server {self.server} did not answer {call.what} {within}; the call was cancelled"
        else:
            did_not = "read its input" if call.lane is not None and call.lane.give_up(call.arrived) else "start"
            text = f"server {self.server} did not {did_not} {within}; {call.what} was not sent"
        self._leave_lane(call)
        self.fail(call, TimedOut(f"{text} (limits.call is {self.release.call_s:g} s)", {"server": self.server}))
        self.settle()

    def cancel(self, call: Call, reason: str) -> None:
        """Nobody waits for it any more; no answer is owed."""
        if call.back is not None:
            call.back.cancel(call, reason)
        self._leave_lane(call)
        if self.draining:
            self.settle()

    def fail(self, call: Call, error: ProtocolError) -> None:
        self.outcomes.failed(call, error.message)
        call.front.answer(call, Kind.ERROR, error.body(), "")

    # Owner, called by Back

    def answered(self, call: Call, kind: Kind, body: bytes, era: str) -> None:
        self.outcomes.count(call, kind, body)
        call.front.answer(call, kind, body, era)
        if self.draining or (call.back is not None and call.back.leaving):
            self.settle()

    def changed(self, method: str) -> None:
        """Tell the fronts, at most ten times a second."""
        if self.draining or method in self._announcing:
            return
        self._announcing.add(method)
        asyncio.get_running_loop().call_later(0.1, self._announce, method)

    def lost(self, back: Back) -> None:
        """A process went away. During its handshake `opening` deals with that."""
        lane = next((lane for lane in self.lanes.values() if back in lane.backs), None)
        if lane is None:
            return
        lane.backs.remove(back)
        calls, back.calls = list(back.calls.values()), {}
        if calls or not back.leaving:
            self._spawn(mourn(self, back, calls))
        self._serve_waiting(lane)
        self.settle()

    def reads_again(self, back: Back) -> None:
        """A process takes calls again: those that waited for it first."""
        for lane in self.lanes.values():
            if back in lane.backs:
                self._serve_waiting(lane)

    # keeping house

    def tick(self, now: float) -> None:
        """Once a second: close idle processes, open those that should always run, drop empty lanes."""
        self._close_idle(now)
        if self.release.start == "always" and self.serving:  # a staged one is opened by the gate alone
            self.keep()
        self.lanes = {key: lane for key, lane in self.lanes.items() if lane.backs or lane.waiting or lane.opening}
        if self.restarts.failures and any(
            now - back.started > STABLE_S for lane in self.lanes.values() for back in lane.backs
        ):
            self.restarts.stable()

    def keep(self) -> None:
        """Have the least number of shared replicas open; one at a time, and not while starts fail."""
        if self.release.sessions != "shared" or self.restarts.wait_s(_monotonic()) > 0:
            return
        lane = self._lane(Head(Kind.CALL))
        if len(lane.backs) < self.release.replicas_min and not lane.opening:
            self._start(lane)

    def settle(self) -> None:
        """Close what has no calls and must take none: leaving processes, all of a draining release."""
        for lane in self.lanes.values():
            if self.draining and not lane.waiting:
                for back in lane.backs:
                    back.leaving = back.leaving or "its release is retired"
            for back in lane.backs:
                if back.leaving and not back.calls:
                    back.close(back.leaving)

    def end(self, principal: str, session: str, *, all_sessions: bool = False) -> None:
        """A client session is over: its own processes end, now or after their last call.

        `all_sessions`: the principal itself has finished (the engine after the gate), so its processes end as well.
        """
        if self.release.sessions == "shared":
            return
        for lane in self.lanes.values():
            mine = self.release.sessions == "per-client" and lane.session == session
            if lane.principal == principal and (mine or all_sessions):
                for back in lane.backs:
                    back.leaving = back.leaving or "its client has gone"
        self.settle()

    def adopt(self, back: Back, principal: str, session: str) -> None:
        """Take over a process that the gate's probe opened; calls of that caller find it."""
        lane = self._lane(Head(Kind.CALL, principal=principal, session=session, era=back.era))
        lane.backs.append(back)
        if back.closed:
            self.lost(back)

    def close(self, why: str) -> int:
        """End everything now; open calls are answered. Returns how many there were."""
        count = self.open
        for task in self._tasks:
            task.cancel()
        for lane in self.lanes.values():
            for call in lane.take_waiting():
                self.fail(call, Unavailable(f"server {self.server}: {why}; the call was not sent, try again"))
            for back in list(lane.backs):
                calls, back.calls = back.calls, {}
                for call in calls.values():
                    self.fail(call, OutcomeUnknown(f"server {self.server}: {why} during {call.what}: outcome unknown"))
                back.close(why)
        return count

    # inside

    def _lane(self, head: Head) -> Lane:
        sessions = self.release.sessions
        if sessions == "shared":
            key = ("", "", "")
        else:
            # mirror the front's era when the release has both
            era = (head.era or "modern") if len(self.eras) > 1 else ""
            key = (head.principal, head.session if sessions == "per-client" else "", era)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key)
        return lane

    def _replicas(self) -> int:
        return self.release.replicas_max if self.release.sessions == "shared" else 1

    def _era(self, lane: Lane) -> str:
        """The era to open in; empty: to be found out."""
        if lane.era in self.eras:
            return lane.era
        if not self.eras:
            return ""
        return "modern" if "modern" in self.eras else self.eras[0]

    def _check_may_start(self) -> None:
        if self.restarts.wait_s(_monotonic()) > 0:
            raise self._down()

    def _down(self) -> Unavailable:
        text, data = self.restarts.story(_monotonic())
        return Unavailable(
            f"server {self.server} (release {self.number}) {text}",
            {"server": self.server, "release": self.number, **data},
        )

    def _make_room(self) -> None:
        """Raises `Limited` when every process that may exist is busy."""
        if self.processes < self.release.max_sessions:
            return
        idle = [back for lane in self.lanes.values() for back in lane.backs if not back.calls and not back.leaving]
        if not idle:
            raise Limited(
                f"server {self.server} has all {self.release.max_sessions} processes busy (limits.sessions);"
                " try again later",
                {"server": self.server},
            )
        oldest = min(idle, key=lambda back: back.used)
        self._forget(oldest, "another client needs its place")

    def _forget(self, back: Back, why: str) -> None:
        for lane in self.lanes.values():
            if back in lane.backs:
                lane.backs.remove(back)
        back.close(why)

    def _grow(self, lane: Lane) -> None:
        """The least busy replica has much to do: open another, if there may be one and none is opening."""
        if lane.opening or len(lane.backs) >= self._replicas() or self.processes >= self.release.max_sessions:
            return
        if self.restarts.wait_s(_monotonic()) == 0 and not self.draining:
            self._start(lane)

    def _start(self, lane: Lane) -> None:
        lane.opening += 1
        self._spawn(self._open(lane))

    async def _open(self, lane: Lane) -> None:
        opening = Opening(self, self.release, self.status, self.board.spawns, eras=self.eras)
        try:
            back = await opening.open(self._era(lane))
        except OpenFailed as exc:
            lane.opening -= 1
            self._start_failed(lane, exc)
            return
        except BaseException:
            lane.opening -= 1
            raise
        lane.opening -= 1
        self.restarts.worked()
        if not self.eras:
            self.eras = ("modern",) if back.era == "modern" else ("legacy",)
        log.info("server.open", server=self.name, era=back.era, seconds=round(_monotonic() - back.started, 3))
        lane.backs.append(back)
        if back.closed:
            self.lost(back)
        self._serve_waiting(lane)
        self.settle()

    def _serve_waiting(self, lane: Lane) -> None:
        while lane.waiting and (back := lane.best()) is not None:
            accept(back, lane.next_waiting())
        if not lane.choked and not lane.opening:
            for call in lane.take_waiting():
                self.again(call)
        best = lane.best()
        if best is not None and len(best.calls) > SCALE_AT:
            self._grow(lane)

    def _start_failed(self, lane: Lane, why: OpenFailed) -> None:
        self.restarts.failed(_monotonic(), why.cause, why.stderr)
        log.warning("server.start_failed", server=self.name, cause=why.cause, failures=self.restarts.failures)
        if lane.best() is not None:
            self._serve_waiting(lane)
            return
        for call in lane.take_waiting():
            if self.draining and not call.again:
                self.again(call)
            else:
                self.fail(call, self._down())

    def again(self, call: Call) -> None:
        """Find another process for a call that can still be sent anew."""
        call.again = True
        call.back, call.lane, call.written = None, None, 0.0
        if call.front.holds(call):
            self.board.again(call)

    def _leave_lane(self, call: Call) -> None:
        if call.lane is not None:
            call.lane.leave(call)

    def _close_idle(self, now: float) -> None:
        spare = self.release.replicas_min if self.release.start == "always" else 0
        for lane in self.lanes.values():
            keep = spare if self.release.sessions == "shared" else 0
            for back in list(lane.backs):
                if len(lane.backs) <= keep:
                    break
                if not back.calls and now - back.used > self.release.idle_s:
                    lane.backs.remove(back)
                    back.close("idle")

    def _announce(self, method: str) -> None:
        self._announcing.discard(method)
        self.board.lists_changed(self.server, method)

    def _spawn(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: object) -> None:
        """Boundary: a fault of ours in one server's task is logged and answered, and hurts no other server."""
        try:
            await work  # type: ignore[misc]
        except Exception:
            log.exception("router.task_failed", server=self.name)
            for lane in self.lanes.values():
                for call in lane.take_waiting():
                    self.fail(call, InternalError(f"server {self.server}: the router failed; see its log"))
