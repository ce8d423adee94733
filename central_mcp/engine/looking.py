"""What `status`, `releases` and `doctor` answer: made from state.db, the router's counters and the runners' files."""

import asyncio
import json
import shutil
from typing import Any

import central_mcp

from ..rollout import states
from ..supervise import SuperviseError, Supervisor
from . import planning
from .back import BackError
from .context import Context
from .programs import CORE
from .rollouts import Rollouts
from .state import Project, ServerRelease, State

COUNTERS = ("calls", "errors", "open", "sessions", "last_ok", "last_error", "p95_ms", "failures", "cause")
FREE_BYTES = 1 << 30


async def status(context: Context, rollouts: Rollouts) -> dict[str, Any]:
    counters, programs = await asyncio.gather(_counters(context), asyncio.to_thread(_programs, context))
    return {
        "home": str(context.home.root),
        "version": getattr(central_mcp, "__version__", "0.1.0"),
        "projects": [_project(context, rollouts, project) for project in context.state.projects()],
        "servers": _servers(context, counters),
        "programs": programs,
    }


def _project(context: Context, rollouts: Rollouts, project: Project) -> dict[str, Any]:
    release = context.state.release(project.name, project.release)
    running = rollouts.under_way(project.name)
    return {
        "name": project.name,
        "commit": project.commit_id or None,
        "release": project.release or None,
        "subject": release.subject if release and release.commit_id == project.commit_id else "",
        "refused": json.loads(project.refused) if project.refused else None,
        "headline": project.headline or None,
        "rollout": running
        and {
            "id": running.row.id,
            "who": running.row.who,
            "since": running.row.started,
            "stage": str(running.stage),
            "commit": running.row.commit_id,
        },
    }


def _servers(context: Context, counters: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each server: its serving release, or the newest that there is."""
    live: dict[str, list[ServerRelease]] = {}
    for row in context.state.server_releases():
        live.setdefault(row.server, []).append(row)
    servers = []
    for name, rows in live.items():
        shown = next((row for row in rows if row.state == "serving"), rows[-1])
        route = shown.route
        counted = counters.get(shown.name, {})
        servers.append(
            {
                "name": name,
                "project": shown.project,
                "category": route["category"],
                "port": route["port"],
                "listen": route["listen"],
                "release": shown.release,
                "state": shown.state,
                "tools": route.get("tool_count"),
                "eras": route.get("eras", []),
                "sessions_policy": route["sessions"],
                "also": [{"release": row.release, "state": row.state} for row in rows if row is not shown],
                "log": str(context.programs.log_path(shown)),
                "listening": bool(context.programs.status(shown).get("listening")),
                **{field: counted.get(field) for field in COUNTERS},
            }
        )
    return servers


async def _counters(context: Context) -> dict[str, dict[str, Any]]:
    if not context.back.up:
        return {}
    try:
        return dict((await context.back.status()).get("servers") or {})
    except BackError:
        return {}


def _programs(context: Context) -> list[dict[str, Any]]:
    supervisor = Supervisor(context.home.supervisor_socket, timeout_s=5)
    found: list[dict[str, Any]] = []
    for name in CORE:
        try:
            processes = supervisor.processes(name)
        except SuperviseError as exc:
            found.append({"name": name, "state": "unknown", "pid": None, "info": str(exc)})
            continue
        for process in processes:
            found.append(
                {
                    "name": process.name if len(processes) > 1 else name,
                    "state": process.state.name.lower(),
                    "pid": process.pid or None,
                    "info": process.spawn_error or None,
                }
            )
    return found


def releases(state: State, project: Project) -> list[dict[str, Any]]:
    """Newest first, the refused ones too."""
    kept = {release.number: release for release in state.releases(project.name)}
    told = []
    for row in state.rollouts(project.name, limit=100):
        if row.stage in (states.Stage.UNCHANGED, states.Stage.QUEUED) or not row.release:
            continue
        release = kept.get(row.release)
        mine = release is not None and release.rollout == row.id
        told.append(
            {
                "project": project.name,
                "release": row.release,
                "serving": mine and row.release == project.release,
                "commit": row.commit_id,
                "subject": release.subject if release and mine else "",
                "outcome": "deployed" if row.stage == states.Stage.DONE else row.stage,
                "who": row.who,
                "source": row.source,
                "at": row.started,
                "live_s": row.live_s,
                "rollout": row.id,
                "why": row.error.get("cause"),
                "back": bool(mine and release is not None and release.state == "retired"),
                "servers": state.release_servers(project.name, row.release) if mine else {},
            }
        )
    return told


async def doctor(context: Context) -> list[dict[str, Any]]:
    """Findings {what, state: ok | note | wrong, told, next}."""
    findings = [_router(context), *_runners(context), *_builds(context)]
    free = shutil.disk_usage(context.home.root).free
    if free < FREE_BYTES:
        findings.append(_finding("disk", "wrong", f"{free >> 20} MiB free", "make room"))
    for project in context.state.projects():
        head = await asyncio.to_thread(context.repository(project.name).head)
        if project.commit_id and head != project.commit_id:
            told = f"serves {project.commit_id[:7]}, and the branch is at {head[:7]}"
            findings.append(_finding(project.name, "wrong", told, "push, or central deploy COMMIT"))
    return findings


def _router(context: Context) -> dict[str, Any]:
    if context.back.up:
        return _finding("router", "ok", "answers")
    return _finding("router", "wrong", "does not answer the engine", "central logs router")


def _runners(context: Context) -> list[dict[str, Any]]:
    silent = [
        row.name
        for row in context.state.server_releases()
        if row.state == "serving" and not context.programs.status(row).get("listening")
    ]
    if not silent:
        return [_finding("runners", "ok", "all listen")]
    return [_finding("runners", "wrong", f"not listening: {', '.join(silent)}", "central logs supervisord")]


def _builds(context: Context) -> list[dict[str, Any]]:
    gone: dict[str, list[str]] = {}
    for row in context.state.server_releases():
        if row.state == "serving" and not planning.whole(context.home, row):
            gone.setdefault(row.project, []).append(row.name)
    return [
        _finding("builds", "wrong", f"gone from the disk: {', '.join(names)}", f"central deploy --project {project}")
        for project, names in gone.items()
    ]


def _finding(what: str, state: str, told: str, step: str = "") -> dict[str, Any]:
    return {"what": what, "state": state, "told": told, "next": step}
