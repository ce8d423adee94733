"""What the engine asks of the router: probe, reload, drain, warm, status. Answers are JSON.

Called by `Router` for engine links only. Arguments are checked here; errors are `ProtocolError`s in words that a
rollout can print.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from central_mcp.protocol.errors import InvalidParams, MethodNotFound, ProtocolError, TimedOut, Unavailable
from central_mcp.registry import Era

from .back import Back
from .opening import START_S, OpenFailed, Opening

if TYPE_CHECKING:
    from .pool import Pool
    from .router import Router

RELOAD_S = 10.0
_LOOK_S = 0.02
_WORDS_S = 1.0
"""The handshake has the deadline, and knows better what was missing; the whole gets a little more."""


class ProbeRequest(msgspec.Struct):
    server: str
    release: int
    deadline_ms: int = int(START_S * 1000)
    principal: str = ""
    session: str = ""
    """Whose the probed process becomes; calls of that caller find it."""


class ReloadRequest(msgspec.Struct):
    version: int = 0


class DrainRequest(msgspec.Struct):
    server: str
    release: int
    timeout_ms: int = 30_000


class WarmRequest(msgspec.Struct):
    server: str
    release: int


async def answer(router: Router, method: str, body: bytes) -> bytes:
    """The JSON answer to one request. Raises `ProtocolError`."""
    try:
        match method:
            case "probe":
                result: Any = await probe(router, msgspec.json.decode(body, type=ProbeRequest))
            case "reload":
                result = await reload(router, msgspec.json.decode(body, type=ReloadRequest))
            case "drain":
                result = await drain(router, msgspec.json.decode(body, type=DrainRequest))
            case "warm":
                result = await warm(router, msgspec.json.decode(body, type=WarmRequest))
            case "status":
                result = status(router)
            case _:
                raise MethodNotFound(f"the router knows probe, reload, drain, warm and status, not {method!r}")
    except msgspec.DecodeError as exc:
        raise InvalidParams(f"{method}: {exc}") from None
    return msgspec.json.encode(result)


async def probe(router: Router, ask: ProbeRequest) -> dict[str, Any]:
    """Open a release, find its eras, keep the first process for the calls that follow.

    A server that is not `shared` and speaks modern is asked for legacy too, in a second process: one process locks one
    era (MCP.md 0.6). Raises `Unavailable` with the cause, `TimedOut`.
    """
    pool = router.pool(ask.server, ask.release)
    started = time.monotonic()
    try:
        async with asyncio.timeout(ask.deadline_ms / 1000 + _WORDS_S):
            first = await _open(router, pool, "", ask.deadline_ms / 1000)
            eras: list[Era] = ["modern" if first.era == "modern" else "legacy"]
            try:
                if first.era == "modern" and pool.release.sessions != "shared":
                    left = ask.deadline_ms / 1000 - (time.monotonic() - started)
                    second = await _also_legacy(router, pool, left)
                    eras = ["legacy", "modern"] if second else eras
            except BaseException:
                first.abort()
                raise
    except TimeoutError:
        seconds = ask.deadline_ms / 1000
        raise TimedOut(f"server {ask.server} did not finish its handshake within {seconds:g} s") from None
    pool.eras = tuple(eras)
    pool.adopt(first, ask.principal, ask.session)
    return {
        "eras": eras,
        "capabilities": first.hello.capabilities,
        "serverInfo": first.hello.serverInfo,
        "instructions": first.hello.instructions or "",
        "noise": first.noise,
        "seconds": round(time.monotonic() - started, 3),
    }


async def _open(router: Router, pool: Pool, era: Era | str, start_s: float) -> Back:
    opening = Opening(pool, pool.release, pool.status, router.spawns, start_s=start_s)
    try:
        return await opening.open(era)
    except OpenFailed as exc:
        data = {"server": pool.server, "release": pool.number, "cause": exc.cause, "stderr": exc.stderr}
        raise Unavailable(f"server {pool.server} {exc.cause}", data) from None


async def _also_legacy(router: Router, pool: Pool, start_s: float) -> bool:
    try:
        back = await _open(router, pool, "legacy", start_s)
    except ProtocolError:
        return False
    back.close("probed")
    return True


async def reload(router: Router, ask: ReloadRequest) -> dict[str, Any]:
    """Look at the snapshot now, answer once a version >= the asked one is in use. Raises `TimedOut`."""
    end = time.monotonic() + RELOAD_S
    while router.refresh() < ask.version:
        if time.monotonic() > end:
            version = router.snapshot.version
            raise TimedOut(f"snapshot {ask.version} is not there after {RELOAD_S:g} s; in use is {version}")
        await asyncio.sleep(_LOOK_S)
    return {"version": router.snapshot.version}


async def drain(router: Router, ask: DrainRequest) -> dict[str, Any]:
    """Wait until no call of the release is open, close its processes. `open`: calls that the time limit ended."""
    pool = router.pools.get((ask.server, ask.release))
    if pool is None:
        return {"open": 0}
    if pool.serving:
        raise InvalidParams(f"release {ask.release} of {ask.server} is the one that serves; switch first")
    pool.draining = True
    pool.settle()
    end = time.monotonic() + ask.timeout_ms / 1000
    while pool.open or pool.processes:
        if time.monotonic() > end:
            return {"open": pool.close(f"release {ask.release} is retired")}
        await asyncio.sleep(_LOOK_S)
    return {"open": 0}


async def warm(router: Router, ask: WarmRequest) -> dict[str, Any]:
    """Open the least number of replicas of a `start: always` server. Returns how many processes it has."""
    pool = router.pool(ask.server, ask.release)
    if pool.release.start == "always" and pool.release.sessions == "shared":
        end = time.monotonic() + START_S
        while pool.processes < pool.release.replicas_min and time.monotonic() < end and not pool.restarts.failures:
            pool.keep()
            await asyncio.sleep(_LOOK_S)
    return {"processes": pool.processes}


def status(router: Router) -> dict[str, Any]:
    """Counters since the start of this router, ages in seconds; `watch` compares two readings."""
    servers = {pool.name: _report(router, pool) for pool in router.pools.values()}
    return {
        "instance": router.instance,
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - router.started, 3),
        "snapshot": router.snapshot.version,
        "starting": router.spawns.waiting,
        "totals": {
            key: sum(server[key] for server in servers.values())
            for key in ("calls", "errors", "tool_errors", "open", "sessions")
        },
        "servers": servers,
    }


def _report(router: Router, pool: Pool) -> dict[str, Any]:
    backs = [back for lane in pool.lanes.values() for back in lane.backs]
    restarts = pool.restarts
    return {
        **pool.outcomes.report(),
        "server": pool.server,
        "release": pool.number,
        "state": "draining" if pool.draining else pool.release.state,
        "open": pool.open,
        "sessions": len(backs),
        "opening": pool.processes - len(backs),
        "eras": list(pool.eras),
        "noise": sum(back.noise for back in backs),
        "failures": restarts.failures,
        "cause": restarts.cause or None,
        "retry_s": None if restarts.barred else round(restarts.wait_s(time.monotonic()), 3),
    }
