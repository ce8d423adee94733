"""What an engine finds at its start and leaves behind: broken files, forgotten files, names that others took."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import git
import pytest

from central_mcp import registry
from central_mcp.engine import undoing
from central_mcp.engine.context import Context
from central_mcp.engine.publish import Publisher, PublishError
from central_mcp.engine.recovery import settle
from central_mcp.engine.repository import Repository
from central_mcp.engine.retiring import Retiring
from central_mcp.engine.rollouts import Rollouts
from central_mcp.engine.running import Running
from central_mcp.engine.serving import Serving
from central_mcp.engine.state import Rollout, ServerRelease, State
from central_mcp.home import Home


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    for folder in ("etc", "registry/tools", "run", "log/rollouts", "projects", "envs", "git"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {"run": str(tmp_path / "run"), "playbooks": str(tmp_path)}
    (tmp_path / "etc" / "settings.json").write_text(json.dumps(settings))
    home = Home(tmp_path)
    state = State(home.state)
    nobody = cast(Any, None)
    yield Context(home, state, Publisher(home, state), nobody, nobody, nobody)
    state.close()


def add_rollout(state: State, **values: Any) -> Rollout:
    common = {"commit_id": "c" * 40, "old_commit": "", "who": "me", "source": "push", "options": "[]", "started": 1.0}
    number = state.do("add_rollout", project="P", **{"stage": "done", **common, **values})
    row = state.rollout(number)
    assert row is not None
    return row


def add_release(db: State, server: str, release: int, project: str = "P", **values: Any) -> None:
    route = {"category": "api", "port": 3200, "listen": False, "tools": "kept", "description": ""}
    program = {"folder": "/nowhere", "env_dir": ""}
    row: dict[str, Any] = {"identity": f"{server}{release}", "content_hash": "", "state": "serving", "rollout": 1}
    db.add_server_release(
        ServerRelease(server=server, release=release, project=project, route=route, program=program, **(row | values))
    )


def test_a_snapshot_that_cannot_be_read_is_written_anew(context: Context) -> None:
    context.publisher.commit()
    (context.home.registry / "snapshot.json").write_bytes(b"\0" * 64)
    context.publisher.read_version()
    assert context.publisher.commit() == registry.read(context.home.registry).version == 2


def test_tool_lists_and_logs_that_nothing_refers_to_go(context: Context) -> None:
    home = context.home
    add_release(context.state, "a", 1)
    number = add_rollout(context.state).id
    kept = [home.registry / "tools" / "kept.json", home.log / "rollouts" / f"{number}.log"]
    gone = [home.registry / "tools" / "gone.json", home.log / "rollouts" / f"{number + 1}.log"]
    for path in (*kept, *gone):
        path.write_text("")

    asyncio.run(Retiring(context, set, lambda: False).tidy())

    assert [path.exists() for path in kept] == [True, True]
    assert [path.exists() for path in gone] == [False, False]


def test_a_revert_does_not_take_back_a_name_that_another_project_has_by_now(context: Context) -> None:
    state = context.state
    plan = [{"server": "a", "change": "removed", "release": 1, "category": "api", "port": 3200, "why": ""}]
    rollout = add_rollout(state, stage="holding")
    state.do("rollout_plan", id=rollout.id, plan=json.dumps(plan), release=2, before=1)
    state.do("add_release_server", project="P", number=1, server="a", release=1)
    add_release(state, "a", 1, state="draining", rollout=rollout.id)
    add_release(state, "a", 2, "Q", rollout=99)
    state.do("own_server", name="a", project="Q", category="api", port=3200, now=1.0)
    row = state.rollout(rollout.id)
    assert row is not None

    Serving(context, row).revert(lambda: None)

    assert state.servers()["a"].project == "Q"
    assert {r.release: r.state for r in state.server_releases()} == {1: "draining", 2: "serving"}


def test_going_back_is_tried_until_it_can_be_written(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [PublishError("no space left"), PublishError("no space left")]

    def revert(more: Any) -> int:
        if full:
            raise full.pop()
        return 7

    async def go_back() -> tuple[int, list[Any]]:
        row = add_rollout(context.state, stage="watching")
        rollout = Running(context, cast(Any, None), cast(Any, None), list, row)
        monkeypatch.setattr(rollout.serving, "revert", revert)
        return await rollout.undoing._switch_back(), context.state.events(row.id)

    monkeypatch.setattr(undoing, "AGAIN_S", 0.0)
    version, events = asyncio.run(go_back())
    assert version == 7
    assert [event["text"] for event in events] == ["cannot go back yet: no space left. Trying again until it works"]


def commits(repository: Repository, count: int) -> list[str]:
    """So many commits in a new repository, its branch at the last."""
    repository.create()
    who = git.Actor("me", "me@example.invalid")
    with git.Repo(repository.path) as repo:
        return [repo.index.commit(str(n), author=who, committer=who).hexsha for n in range(count)]


@pytest.mark.parametrize("deployed", [False, True])
def test_a_branch_that_moved_before_its_rollout_was_stored_goes_back(context: Context, deployed: bool) -> None:
    """An engine killed between the two; `deployed`: another rollout had brought the same commit by then."""
    state, repository = context.state, context.repository("P")
    old, new = commits(repository, 2)
    state.do("add_project", name="P", now=1.0)
    state.do("project_serves", name="P", release=1, commit_id=new if deployed else old)
    row = add_rollout(state, stage="planning", commit_id=new, old_commit=old)

    async def start() -> None:
        rollouts = Rollouts(context)
        rollouts.retiring.begin = lambda: None  # type: ignore[method-assign]
        await settle(context, rollouts, row, [])

    asyncio.run(start())

    after = state.rollout(row.id)
    assert after is not None
    assert (after.stage, repository.head()) == ("failed", new if deployed else old)
    assert state.open_rollouts() == []
