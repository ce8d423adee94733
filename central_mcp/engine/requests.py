"""What can be asked of the engine: one function a request, checked here, told in `engine.client`'s terms.

deploy, rollback, follow, step, plan | project.create, project.list, releases | key.create, key.list, key.revoke |
status, doctor, announce
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import git

from ..manifest import ManifestError, check_project_name
from ..registry.watch import INTERVAL_S
from ..rollout.errors import PlanError
from . import planning
from .context import Context
from .looking import doctor, releases, status
from .repository import COMMIT, NO_COMMIT, Repository
from .rollouts import Rollouts
from .running import STEPS, Running
from .server import RequestError
from .state import Project, now

OPTIONS = ("detach", "check")
"""Push options: `detach` answers right after the switch, `check` only plans and refuses."""
SEEN_S = 2.5 * INTERVAL_S
"""By then the coordinators have seen a new snapshot: a key works when it is printed."""
SOURCES = ("push", "cli", "playbook")
Message = dict[str, Any]


class Requests:
    def __init__(self, context: Context, rollouts: Rollouts) -> None:
        self._context = context
        self._rollouts = rollouts

    async def handle(self, request: Message) -> AsyncIterator[Message]:
        """Events, then `done`. Raises `RequestError`, `RolloutError`, `StateError`, `PublishError`."""
        do = request["do"]
        streams = {"deploy": self._deploy, "rollback": self._rollback, "follow": self._follow}
        asks = {
            "step": self._step,
            "plan": self._plan,
            "project.create": self._create_project,
            "project.list": self._list_projects,
            "releases": self._releases,
            "key.create": self._create_key,
            "key.list": self._list_keys,
            "key.revoke": self._revoke_key,
            "status": self._status,
            "doctor": self._doctor,
            "announce": self._announce,
        }
        if do in streams:
            async for message in streams[do](request):
                yield message
        elif do in asks:
            yield {"done": await asks[do](request)}
        else:
            raise RequestError("unknown", f"the engine does not know {do[:60]!r}", f"it knows {', '.join(asks)}")

    # rollouts

    async def _deploy(self, request: Message) -> AsyncIterator[Message]:
        options = _options(request)
        source = _text(request, "source", "cli")
        if source not in SOURCES:
            raise RequestError("bad-request", f"source {source!r} is none of {', '.join(SOURCES)}")
        project = self._project(request)
        ref = _text(request, "ref", "")
        repository = self._context.repository(project.name)
        if ref and ref != repository.ref:
            raise RequestError("bad-request", f"{ref} does not deploy; {repository.ref} does", "push there")
        commit = (await asyncio.to_thread(repository.commit, _text(request, "commit"))).id
        old = _text(request, "old", "")
        if old and not COMMIT.fullmatch(old):
            raise RequestError("bad-request", f"old {old[:60]!r} is no commit id")
        if commit == NO_COMMIT:
            raise RequestError("bad-request", "a branch that deploys cannot be deleted")
        who = _who(request)
        running = self._rollouts.begin(project.name, commit, who=who, source=source, old=old, options=options)
        async for message in _told(running):
            yield message

    async def _rollback(self, request: Message) -> AsyncIterator[Message]:
        project = self._project(request)
        number = request.get("release") or self._release_before(project)
        if not isinstance(number, int):
            raise RequestError("bad-request", "release is a number")
        release = self._context.state.release(project.name, number)
        if release is None:
            raise PlanError(f"project {project.name} has no release v{number}", hint="central releases")
        running = self._rollouts.begin(
            project.name,
            release.commit_id,
            who=_who(request),
            source="rollback",
            options=_options(request),
            back_to=number,
        )
        async for message in _told(running):
            yield message

    def _release_before(self, project: Project) -> int:
        for release in self._context.state.releases(project.name):
            if release.number != project.release and release.state == "retired":
                return release.number
        raise PlanError(f"project {project.name} has no earlier release to go back to", hint="central releases")

    async def _follow(self, request: Message) -> AsyncIterator[Message]:
        number = request.get("rollout")
        after = request.get("after", 0)
        if not isinstance(number, int) or not isinstance(after, int):
            raise RequestError("bad-request", "rollout and after are numbers")
        running = self._rollouts.get(number)
        if running is not None:
            async for event in running.feed.follow(after):
                yield {"event": event}
        else:
            for event in self._context.state.events(number, after):
                yield {"event": event}
        row = self._context.state.rollout(number)
        if row is None:
            raise RequestError("unknown", f"there is no rollout {number}", "central status")
        yield {"done": {"rollout": number, "stage": row.stage, "error": row.error or None}}

    async def _step(self, request: Message) -> Message:
        """For the Ansible modules. Without `rollout`, the first step begins one (a playbook run by hand)."""
        step = _text(request, "step")
        if step == "plan":
            return await self._plan(request)
        if step not in STEPS:
            raise RequestError("bad-request", f"step {step!r} is none of {', '.join(STEPS)}")
        number = request.get("rollout")
        running = self._rollouts.get(number) if isinstance(number, int) else None
        if running is None and number:
            raise RequestError("unknown", f"rollout {number} is not under way", "central status")
        if running is None:
            project = self._project(request)
            repository = self._context.repository(project.name)
            commit = (await asyncio.to_thread(repository.commit, _text(request, "commit"))).id
            running = self._rollouts.begin(project.name, commit, who=_who(request), source="playbook")
        return await running.step(step)

    async def _plan(self, request: Message) -> Message:
        project = self._project(request)
        tree, commit = request.get("tree"), request.get("commit")
        if not tree and not commit and isinstance(number := request.get("rollout"), int):
            row = self._context.state.rollout(number)
            commit = row.commit_id if row else None
        try:
            what = await asyncio.to_thread(self._declared, project.name, tree, commit)
        except PlanError as exc:
            if not tree and not request.get("problems"):
                raise
            return {"project": project.name, "commit": commit, "changes": [], "problems": [str(exc), *exc.log_tail]}
        made = planning.make(self._context.home, self._context.state, project.name, what)
        return {
            "project": project.name,
            "commit": commit,
            "release": made.release,
            "changes": [change.json() for change in made.changes],
            "problems": [str(problem) for problem in made.problems],
        }

    def _declared(self, project: str, tree: str | None, commit: str | None) -> planning.Declared:
        repository = self._context.repository(project)
        if tree is None:
            found = repository.commit(commit or self._context.home.settings.branch).id
            return planning.declared(self._context.home, repository, found)
        try:
            work = git.Repo(Path(tree), search_parent_directories=True)
        except git.GitError as exc:
            raise PlanError(f"{tree} is no git repository", hint="git init, and commit") from exc
        outside = Repository(self._context.home, project, work=work)
        return planning.declared(self._context.home, outside, outside.commit(commit or "HEAD").id)

    async def _announce(self, request: Message) -> Message:
        """post-receive: what was stored. Rollouts do not wait for it."""
        project = self._project(request)
        branch = self._context.home.settings.branch
        refs = [str(ref)[:200] for ref in request.get("refs") or []]
        stored = [ref for ref in refs if ref != f"refs/heads/{branch}"]
        return {"project": project.name, "stored": stored, "branch": branch}

    # projects and keys

    async def _create_project(self, request: Message) -> Message:
        name = _text(request, "name")
        try:
            check_project_name(name)
        except (ValueError, ManifestError) as exc:
            raise RequestError("bad-request", f"project name {name[:80]!r}: {exc}") from exc
        repository = self._context.repository(name)
        created = await asyncio.to_thread(repository.create)
        self._context.state.do("add_project", name=name, now=now())
        return {"name": name, "path": str(repository.path), "remote": str(repository.path), "created": created}

    async def _list_projects(self, request: Message) -> Message:
        return {
            "projects": [
                {
                    "name": project.name,
                    "release": project.release or None,
                    "commit": project.commit_id or None,
                    "path": str(self._context.repository(project.name).path),
                    "remote": str(self._context.repository(project.name).path),
                }
                for project in self._context.state.projects()
            ]
        }

    async def _create_key(self, request: Message) -> Message:
        project, name = self._project(request), _text(request, "name", "")
        if not name.isprintable() or len(name) > 100:
            raise RequestError("bad-request", "a key's name has at most 100 printable characters")
        identity = secrets.token_hex(6)
        key = f"cmk_{identity}_{secrets.token_urlsafe(32)}"
        sha = hashlib.sha256(key.encode()).hexdigest()
        state = self._context.state
        self._context.publisher.commit(
            lambda: _ignore(
                state.do("add_key", id=identity, sha256=sha, project=project.name, name=name, created=now())
            )
        )
        await asyncio.sleep(SEEN_S)
        return {"id": identity, "key": key, "project": project.name}

    async def _list_keys(self, request: Message) -> Message:
        shown = ("id", "project", "name", "created")
        keys = self._context.state.api_keys()
        return {"keys": [{field: getattr(key, field) for field in shown} for key in keys]}

    async def _revoke_key(self, request: Message) -> Message:
        identity = _text(request, "id")
        state = self._context.state
        if identity not in {key.id for key in state.api_keys()}:
            raise RequestError("unknown", f"there is no key {identity[:40]!r}", "central key list")
        self._context.publisher.commit(lambda: _ignore(state.do("drop_key", id=identity)))
        return {"id": identity, "revoked": True}

    # looking

    async def _releases(self, request: Message) -> Message:
        named = request.get("project")
        known = [self._project(request)] if named else self._context.state.projects()
        return {"releases": [row for project in known for row in releases(self._context.state, project)]}

    async def _status(self, request: Message) -> Message:
        return await status(self._context, self._rollouts)

    async def _doctor(self, request: Message) -> Message:
        return {"findings": await doctor(self._context)}

    def _project(self, request: Message) -> Project:
        name = _text(request, "project")
        project = self._context.state.project(name)
        if project is None:
            raise RequestError("unknown", f"there is no project {name[:80]!r}", f"central project create {name[:80]}")
        return project


async def _told(running: Running) -> AsyncIterator[Message]:
    """The events up to the answer, then the answer."""
    async for event in running.feed.follow():
        yield {"event": event}
        if event["type"] in ("done", "failed"):
            break
    yield {"done": await asyncio.shield(running.answered)}


def _text(request: Message, name: str, default: str | None = None) -> str:
    value = request.get(name, default)
    if not isinstance(value, str) or (not value and default is None) or len(value) > 4096:
        raise RequestError("bad-request", f"{request['do']} needs {name}, a text")
    return value


def _who(request: Message) -> str:
    who = _text(request, "who", "somebody")
    return "".join(c if c.isprintable() else "?" for c in who)[:100]


def _options(request: Message) -> list[str]:
    options = request.get("options") or []
    if not isinstance(options, list):
        raise RequestError("bad-request", "options is a list of texts")
    for option in options:
        if option not in OPTIONS:
            raise RequestError(
                "bad-request", f"unknown push option {str(option)[:60]!r}", f"known: {', '.join(OPTIONS)}"
            )
    return options


def _ignore(_: object) -> None:
    """For a lambda that must give nothing back."""
