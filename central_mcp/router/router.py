"""The router: from the registry's snapshot to pools, from a call's head to its pool, and the clock over all of it.

Owns the pools and the links. No sockets here but through `Front` and `Back`. Made and run by `program`.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from central_mcp.home import Home
from central_mcp.protocol.errors import ProtocolError, Unavailable
from central_mcp.protocol.frames import Head, Kind
from central_mcp.registry import Snapshot, Watch

from . import control, exits
from .call import Call
from .front import STUCK_S, Front
from .pool import Pool
from .spawns import Spawns

SWEEP_S = 0.1
"""How often deadlines are looked at; a deadline is late by at most this."""
HOUSE_S = 1.0

log = structlog.get_logger("router")
_monotonic = time.monotonic


class Router:
    """`take` a snapshot, `dispatch` calls, `start` and `stop` the clock."""

    def __init__(
        self, home: Home, instance: str, *, uids: frozenset[int], engines: frozenset[int], spawns: Spawns | None = None
    ) -> None:
        self.home = home
        self.instance = instance
        self.uids = uids
        self.engines = engines
        self.spawns = spawns or Spawns()
        self.snapshot = Snapshot(version=0)
        self.watch = Watch(home.registry, self.take)
        self.started = _monotonic()
        self.pools: dict[tuple[str, int], Pool] = {}
        self._serving: dict[str, Pool] = {}
        self._fronts: set[Front] = set()
        self._controls: dict[tuple[Front, int], asyncio.Task[None]] = {}
        self._clock: asyncio.TimerHandle | None = None
        self._house_at = 0.0

    # the snapshot

    def take(self, snapshot: Snapshot) -> None:
        """Treat releases as this snapshot says: new calls to the serving ones; others finish what they have."""
        self.snapshot = snapshot
        named = {
            (server.name, release.release): release
            for server in snapshot.servers.values()
            for release in server.releases
        }
        for key, pool in self.pools.items():
            release = named.get(key)
            pool.update(release or pool.release, draining=release is None or release.state == "draining")
        self._serving = {
            server.name: self.pool(server.name, server.serving.release)
            for server in snapshot.servers.values()
            if server.serving is not None
        }
        for pool in self.pools.values():
            if pool.draining:
                pool.settle()
        log.info("snapshot.taken", version=snapshot.version, serving=len(self._serving))
        self._tidy()

    def refresh(self) -> int:
        """Look for a newer snapshot now; the version in use."""
        return self.watch.refresh().version

    def pool(self, server: str, number: int) -> Pool:
        """The pool of a release that the snapshot names. Raises `Unavailable`."""
        pool = self.pools.get((server, number))
        if pool is None:
            found = self.snapshot.servers.get(server)
            release = found.release(number) if found is not None else None
            if release is None:
                raise Unavailable(f"server {server} has no release {number} in snapshot {self.snapshot.version}")
            status = self.home.server_status(exits.identity(server, number))
            pool = self.pools[(server, number)] = Pool(self, server, release, status)
            pool.draining = release.state == "draining"
        return pool

    # Desk, called by Front

    def may_connect(self, uid: int, who: str) -> bool:
        """`who` empty: as anybody."""
        return uid in self.engines or (uid in self.uids and who != "engine")

    def joined(self, front: Front) -> None:
        self._fronts.add(front)
        log.info("front.up", who=front.who)

    def left(self, front: Front) -> None:
        """A link is gone: nobody waits for its calls any more."""
        if front not in self._fronts:
            return
        self._fronts.discard(front)
        calls, front.calls = front.calls, {}
        for call in calls.values():
            self.cancelled(call, "the caller has gone")
            if call.back is not None:
                call.back.let_go(front)
        for key, task in list(self._controls.items()):
            if key[0] is front:
                task.cancel()
        log.info("front.down", who=front.who, open=len(calls))

    def dispatch(self, call: Call) -> None:
        """Give the call to the pool that serves it now. Raises `ProtocolError`."""
        head = call.head
        if head.release:
            if call.front.who != "engine":
                raise Unavailable("only the engine may name a release")
            pool = self.pool(head.server, head.release)
        else:
            found = self._serving.get(head.server)
            if found is None:
                self.refresh()  # a coordinator may have read a snapshot that we have not yet
                found = self._serving.get(head.server)
            if found is None:
                raise Unavailable(self._absent(head.server), {"server": head.server})
            pool = found
        call.limit(pool.release.call_s)
        try:
            pool.dispatch(call)
        except ProtocolError as exc:
            pool.outcomes.failed(call, exc.message)
            raise
        if call.front.paused_since and call.back is not None:
            call.back.hold(call.front)

    def cancelled(self, call: Call, reason: str) -> None:
        if call.pool is not None:
            call.pool.cancel(call, reason)

    def ended(self, front: Front, principal: str, session: str) -> None:
        for pool in self.pools.values():
            pool.end(principal, session, all_sessions=front.who == "engine")

    def control(self, front: Front, head: Head, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._control(front, head, body))
        self._controls[(front, head.id)] = task
        task.add_done_callback(lambda _: self._controls.pop((front, head.id), None))

    async def _control(self, front: Front, head: Head, body: bytes) -> None:
        """Boundary: whatever a control request runs into is answered."""
        try:
            answer = await control.answer(self, head.method, body)
        except ProtocolError as exc:
            front.reply(head.id, Kind.ERROR, exc.body())
        except Exception as exc:
            log.exception("control.failed", method=head.method)
            front.reply(head.id, Kind.ERROR, ProtocolError(f"{head.method} failed in the router: {exc!r}").body())
        else:
            front.reply(head.id, Kind.RESULT, answer)

    # Switchboard, called by Pool

    def lists_changed(self, server: str, method: str) -> None:
        for front in self._fronts:
            front.send(Head(Kind.CHANGED, 0, method, server))

    def again(self, call: Call) -> None:
        """`dispatch` for a call that nobody up the stack could answer."""
        try:
            self.dispatch(call)
        except ProtocolError as exc:
            call.front.answer(call, Kind.ERROR, exc.body(), "")

    # the clock

    def start(self) -> None:
        """Raises `RegistryError` when the snapshot cannot be read."""
        self.watch.start()
        self._tick()

    def stop(self) -> None:
        """End every process and link."""
        self.watch.stop()
        if self._clock is not None:
            self._clock.cancel()
        for pool in self.pools.values():
            pool.close("the router is stopping")
        for front in list(self._fronts):
            front.close()
        for task in self._controls.values():
            task.cancel()

    def _tick(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(SWEEP_S, self._tick)
        now = _monotonic()
        for front in list(self._fronts):
            for call in [call for call in front.calls.values() if call.due < now]:
                if call.pool is not None and front.holds(call):
                    call.pool.expire(call)
            if front.paused_since and now - front.paused_since > STUCK_S:
                front.abort(f"it has read nothing for {STUCK_S:g} s")
        if now >= self._house_at:
            self._house_at = now + HOUSE_S
            for pool in self.pools.values():
                pool.tick(now)
            self._tidy()

    def _tidy(self) -> None:
        """Forget pools that the snapshot does not name and that hold nothing."""
        for (server, number), pool in list(self.pools.items()):
            found = self.snapshot.servers.get(server)
            if (found is None or found.release(number) is None) and not pool.processes and not pool.open:
                del self.pools[(server, number)]

    def _absent(self, server: str) -> str:
        known = self.snapshot.servers.get(server)
        if known is None:
            return f"there is no server {server}; `central status` lists those that are deployed"
        return f"server {server} has no release that serves; `central status` says why"
