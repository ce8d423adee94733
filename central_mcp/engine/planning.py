"""Facts for the plan: what a commit declares, what serves, who owns which name. `rollout.plan` decides."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import git

from .. import registry
from ..home import MAX_SOCKET_PATH, Home
from ..manifest import CATEGORIES, Catalogue, ManifestError, ResolvedServer, load, resolve
from ..rollout import plan as rules
from ..rollout.errors import PlanError
from ..rollout.source import content_hash
from .repository import MANIFEST, Repository
from .state import ServerRelease, State


@dataclass(frozen=True)
class Declared:
    """What one commit declares; or, for a rollback, what one release was."""

    manifest: str
    servers: dict[str, ResolvedServer]
    wanted: dict[str, rules.Wanted]
    rows: dict[str, ServerRelease]
    """For a rollback: the server-releases whose builds are used again."""


def declared(home: Home, repository: Repository, commit: str) -> Declared:
    """Read a commit. Blocking. Raises `PlanError` with every problem of the manifest."""
    try:
        return _declared(home, repository, commit)
    finally:
        repository.rest()


def _declared(home: Home, repository: Repository, commit: str) -> Declared:
    text = repository.manifest(commit)
    try:
        manifest = load(text, MANIFEST)
        servers = resolve(manifest, Catalogue.read())
    except ManifestError as exc:
        first, *more = str(exc).splitlines() or ["it cannot be read"]
        raise PlanError(first, log_tail=more, hint="mend central.yml and push again") from exc
    if manifest.project != repository.project:
        raise PlanError(
            f"central.yml says project: {manifest.project}, and this is the repository of {repository.project}",
            hint=f"write project: {repository.project}, or push to {manifest.project}'s repository",
        )
    wanted = {name: _wanted(server, repository.repo, commit) for name, server in servers.items()}
    _check_paths(home)
    return Declared(text.decode(), servers, wanted, {})


def _wanted(server: ResolvedServer, repo: git.Repo, commit: str) -> rules.Wanted:
    digest = content_hash(server, repo, commit)
    reasons = {"manifest": hashlib.sha256(server.model_dump_json().encode()).hexdigest()[:16]}
    if server.source:
        tree = repo.commit(commit).tree
        reasons["source"] = (tree if server.source == "." else tree / server.source).hexsha
    return rules.Wanted(server.name, server.category, digest, reasons)


def _check_paths(home: Home) -> None:
    path = str(home.server_socket("0" * 12))
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise PlanError(
            f"socket paths such as {path} have {len(path.encode())} bytes; {MAX_SOCKET_PATH} is the limit",
            hint="provision again with a shorter CENTRAL_RUN",
        )


def of_release(state: State, project: str, number: int) -> Declared:
    """What release `number` was, to be served again. Raises `PlanError` when its builds are gone."""
    release = state.release(project, number)
    known = ", ".join(f"v{r.number}" for r in state.releases(project) if r.state in ("serving", "retired"))
    if release is None or release.state not in ("serving", "retired"):
        raise PlanError(
            f"project {project} has no release v{number} to go back to", hint=f"there are {known or 'none'}"
        )
    rows = {}
    for server, at in state.release_servers(project, number).items():
        row = state.server_release(server, at)
        if row is None or not built(row):
            raise PlanError(
                f"the build of {server}@{at} is gone", server=server, hint=f"central deploy {release.commit_id[:12]}"
            )
        rows[server] = row
    wanted = {
        name: rules.Wanted(name, row.route["category"], row.content_hash, row.program["reasons"])
        for name, row in rows.items()
    }
    return Declared(release.manifest, {}, wanted, rows)


def whole(home: Home, row: ServerRelease) -> bool:
    """What it serves from is still on the disk: what was built for it, and the tool list that the gate found."""
    tools = row.route.get("tools")
    return built(row) and (not tools or registry.tools_file(home.registry, tools).is_file())


def built(row: ServerRelease) -> bool:
    """What was built for it is still on the disk; that is enough to pass the gate again."""
    env = row.program.get("env_dir")
    return Path(row.program["cwd"]).is_dir() and (not env or (Path(env) / ".complete").exists())


def make(
    home: Home, state: State, project: str, what: Declared, reserved: Sequence[rules.Registered] = ()
) -> rules.Plan:
    """The plan for what is declared, against what serves now and what other rollouts under way have `reserved`."""
    now = state.project(project)
    assert now is not None
    serving = [
        rules.Serving(row.server, row.release, row.content_hash, row.program["reasons"], whole(home, row))
        for row in state.server_releases()
        if row.project == project and row.state == "serving"
    ]
    registered = {s.name: rules.Registered(s.name, s.project, s.category, s.port) for s in state.servers().values()}
    for other in reserved:
        if not (known := registered.get(other.name)) or not known.owner:
            registered[other.name] = other
    return rules.make(
        project,
        what.wanted.values(),
        serving,
        registered,
        number=state.last_number(project, list(what.wanted)) + 1,
        serving_release=now.release,
        ranges=CATEGORIES,
    )


def as_error(plan: rules.Plan) -> PlanError:
    """The plan's problems as the answer to a push."""
    first, *more = plan.problems
    return PlanError(first.what, server=first.server, log_tail=[str(p) for p in more], hint=first.hint)


def as_json(plan: rules.Plan) -> str:
    return json.dumps([change.json() for change in plan.changes])
