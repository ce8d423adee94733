"""Stage: build, start and gate the new server-releases of one rollout, beside what serves; and take them away again.

Called by `engine.rollouts`. Everything that a failure must remove has a record in state.db before it exists.
"""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .. import registry
from ..manifest import ResolvedServer
from ..rollout import gate
from ..rollout.environment import Built, build
from ..rollout.errors import BuildError, GateError, RolloutError, StartError
from ..rollout.plan import Change
from ..rollout.source import export_tree
from .back import BackError, Probe
from .context import Context
from .planning import Declared
from .programs import POLL_S, size_of
from .state import ServerRelease

GRACE_S = 5.0
MORE_CONNECTIONS = 10
"""A runner takes this many connections above `limits.sessions`: for the gate and for processes that are just ending."""
BATCH = 50
WORDS_S = 2.0
"""More than the gate's limit: the router knows better what was missing, and is given time to say it."""
LAST_WORDS_S = 1.0
"""A refused server that has said nothing yet may take so long to say why: its interpreter may only be starting."""
Emit = Callable[[dict[str, Any]], None]
T = TypeVar("T")
R = TypeVar("R")


def identity(server: str, release: int) -> str:
    """The name of a server-release in sockets and files: 12 hex digits."""
    return hashlib.sha256(f"{server}@{release}".encode()).hexdigest()[:12]


class Staging:
    """The staged half of one rollout."""

    def __init__(
        self, context: Context, rollout: int, project: str, commit: str, folder: Path, what: Declared, emit: Emit
    ) -> None:
        self._context = context
        self._rollout = rollout
        self._project = project
        self._commit = commit
        self._folder = folder
        self._what = what
        self._emit = emit
        self._room = asyncio.Semaphore(max(2, len(os.sched_getaffinity(0))))
        self._done = 0
        self._total = 1
        self._failed = False
        self._offsets: dict[str, int] = {}
        self._locks = {row.server: lock for row in self._serving() if (lock := _lock_of(row))}
        self.seconds: dict[str, float] = {}

    def _serving(self) -> list[ServerRelease]:
        return [row for row in self._context.state.server_releases() if row.state == "serving"]

    async def run(self, changes: Sequence[Change]) -> list[ServerRelease]:
        """Stage every new and changed server; what may be switched to. Raises the first `RolloutError`."""
        self._total = max(1, 3 * len(changes))
        rows = await self._each(changes, self._build)
        staged: list[ServerRelease] = []
        for at in range(0, len(rows), BATCH):
            batch = rows[at : at + BATCH]
            self._offsets |= {row.server: size_of(self._context.programs.log_path(row)) for row in batch}
            with self._context.state.transaction():
                for row in batch:
                    self._context.state.add_server_release(row)
            await self._start(batch)
            staged += await self._each(batch, self._gate)
        return staged

    async def _each(self, items: Sequence[T], do: Callable[[T], Awaitable[R]]) -> list[R]:
        """Run `do` for each, as many at once as there are cores; wait for all; raise the first failure."""

        async def one(item: T) -> R | None:
            async with self._room:
                if self._failed:
                    return None
                try:
                    return await do(item)
                except BaseException:
                    self._failed = True
                    raise

        results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        for failure in failures:
            if not isinstance(failure, RolloutError):
                raise failure
        for failure in failures[1:]:
            self._emit({"type": "line", "text": f"also failed: {failure}"})
        if failures:
            raise failures[0]
        return [r for r in results if r is not None and not isinstance(r, BaseException)]

    # build

    async def _build(self, change: Change) -> ServerRelease:
        start = time.monotonic()
        again = self._what.rows.get(change.server)
        if again is not None:
            row = self._again(change, again)
        else:
            server = self._what.servers[change.server]
            lines: list[str] = []
            built = await asyncio.to_thread(self._build_blocking, server, lines.append)
            row = self._row(change, server, built)
        self._tell(change.server, "build", time.monotonic() - start)
        return row

    def _build_blocking(self, server: ResolvedServer, on_line: Callable[[str], None]) -> Built:
        if server.source:
            repository = self._context.repository(self._project)
            into = self._folder / server.name
            try:
                export_tree(repository.path, self._commit, server.source, into, server=server.name)
            except OSError as exc:
                cause = f"{exc.filename or into}: {exc.strerror or exc}"
                raise BuildError(cause, server=server.name, hint="make room on the disk and push again") from exc
        return build(
            server,
            home=self._context.home,
            project=self._project,
            release_dir=self._folder,
            previous_lock=self._locks.get(server.name),
            on_line=on_line,
        )

    def _again(self, change: Change, old: ServerRelease) -> ServerRelease:
        """The same build under a new number: what a rollback is."""
        return replace(
            old,
            release=change.release,
            identity=identity(old.server, change.release),
            state="staged",
            rollout=self._rollout,
            route={**old.route, "port": change.port},
        )

    def _row(self, change: Change, server: ResolvedServer, built: Built) -> ServerRelease:
        want = self._what.wanted[server.name]
        return ServerRelease(
            server=server.name,
            release=change.release,
            project=self._project,
            identity=identity(server.name, change.release),
            content_hash=want.content_hash,
            state="staged",
            rollout=self._rollout,
            route=_route(server, change.port),
            program=_program(server, built, self._folder, dict(want.reasons)),
        )

    # start

    async def _start(self, rows: Sequence[ServerRelease]) -> None:
        begun = time.monotonic()
        await self._context.programs.add(rows)
        await asyncio.gather(*(self._context.programs.listening(row) for row in rows))
        version = self._context.publisher.commit()
        try:
            await self._context.back.reload(version)
        except BackError as exc:
            raise StartError(
                f"the router does not take the new snapshot: {exc}", hint="look at log/router.log"
            ) from exc
        for row in rows:
            self._tell(row.server, "start", time.monotonic() - begun)

    # gate

    async def _gate(self, row: ServerRelease) -> ServerRelease:
        start = time.monotonic()
        limit = self._context.home.settings.gate
        try:
            async with asyncio.timeout(limit + WORDS_S):
                probe, tools = await self._ask(row, limit)
        except TimeoutError as exc:
            raise await self._refusal(row, f"not ready within {limit:g} s") from exc
        except BackError as exc:
            raise await self._refusal(row, str(exc)) from exc
        finally:
            self._context.back.end(row.server, row.release)
        problems = gate.check(tools)
        if problems:
            raise await self._refusal(row, gate.shown(problems))
        passed = self._passed(row, probe, tools)
        self._tell(row.server, "gate", time.monotonic() - start, self._difference(row, tools))
        return passed

    async def _ask(self, row: ServerRelease, limit: float) -> tuple[Probe, list[Any]]:
        back = self._context.back
        probe = await back.probe(row.server, row.release, limit)
        pinned = row.program["era"]
        eras = tuple(e for e in probe.eras if pinned in ("auto", e))
        if not eras:
            raise BackError(f"speaks {' and '.join(probe.eras) or 'no era'}, and central.yml says era: {pinned}")
        probe = replace(probe, eras=eras)
        era = "modern" if "modern" in eras else eras[0]
        tools = []
        if "tools" in probe.capabilities:
            tools = await back.tools(row.server, row.release, era, limit)
        health = row.program["health"]
        if health:
            params = {"name": health["tool"], "arguments": health["arguments"]}
            result = await back.call(row.server, row.release, era, "tools/call", params, health["timeout"])
            if why := gate.health(result):
                raise BackError(why)
        return probe, tools

    async def _refusal(self, row: ServerRelease, cause: str) -> GateError:
        """With the server's last words; a slow machine is given a moment to bring the first of them."""
        end = time.monotonic() + LAST_WORDS_S
        while not (lines := self._context.programs.log_tail(row, self._offsets[row.server])):
            if time.monotonic() > end:
                break
            await asyncio.sleep(POLL_S)
        hint = f"mend it and push again; `central logs {row.server}` has more"
        return GateError(cause, server=row.server, log_tail=lines, hint=hint)

    def _passed(self, row: ServerRelease, probe: Probe, tools: list[Any]) -> ServerRelease:
        sha = registry.write_tools(self._context.home.registry, tools)
        route = {
            **row.route,
            "eras": list(probe.eras),
            "tools": sha,
            "tool_count": len(tools),
            "capabilities": probe.capabilities,
            "server_info": probe.server_info,
            "instructions": probe.instructions,
        }
        return replace(row, route=route)

    def _difference(self, row: ServerRelease, tools: list[Any]) -> str:
        serving = next((r for r in self._serving() if r.server == row.server), None)
        count = f"{len(tools)} tool{'' if len(tools) == 1 else 's'}"
        if serving is None or not serving.route.get("tools"):
            return count
        try:
            listed = registry.read_tools(self._context.home.registry, serving.route["tools"])
        except registry.RegistryError:  # gone from the disk: why it is staged anew
            return count
        old = [msgspec.json.decode(raw) for raw in listed]
        difference = str(gate.diff(old, tools))
        return f"{count} ({difference})" if difference else count

    def _tell(self, server: str, stage: str, seconds: float, detail: str = "") -> None:
        self._done += 1
        self.seconds[server] = self.seconds.get(server, 0.0) + seconds
        self._emit({"type": "progress", "done": self._done, "total": self._total})
        told = {"type": "server", "server": server, "stage": stage, "seconds": round(seconds, 2), "detail": detail}
        self._emit(told)


def _route(server: ResolvedServer, port: int) -> dict[str, Any]:
    return {
        "category": server.category,
        "port": port,
        "listen": server.listen,
        "description": server.description,
        "transport": server.transport,
        "sessions": server.sessions,
        "start": server.start,
        "restart": server.restart,
        "replicas_min": server.replicas.min,
        "replicas_max": server.replicas.max,
        "max_sessions": server.limits.sessions,
        "call_s": server.limits.call,
        "idle_s": server.limits.idle,
        "grace_s": GRACE_S,
    }


def _program(server: ResolvedServer, built: Built, folder: Path, reasons: dict[str, str]) -> dict[str, Any]:
    limits = server.limits
    return {
        "argv": list(built.argv),
        "cwd": str(built.cwd),
        "env": built.env,
        "grace_s": GRACE_S,
        "limits": {"files": limits.files, "memory": limits.memory, "processes": limits.processes},
        "connections": limits.sessions + MORE_CONNECTIONS,
        "env_dir": str(built.env_dir) if built.env_dir else "",
        "lock": built.lock_name,
        "folder": str(folder),
        "reasons": reasons,
        "era": server.era,
        "health": server.health.model_dump() if server.health else None,
        "watch": server.rollout.watch,
        "thresholds": server.rollout.thresholds.model_dump(),
    }


def _lock_of(row: ServerRelease) -> bytes | None:
    """The lock that a release was built from: the next one starts from it."""
    try:
        return Path(row.program["folder"], "locks", row.program["lock"]).read_bytes()
    except OSError:
        return None


def remove_folder(path: Path) -> None:
    """Remove a release's folder with all its read-only files."""
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)
