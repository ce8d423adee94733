"""A pushed one-line change, and a rollback, under a steady load: no call fails, and nobody else is touched."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.waiting import SECOND, wait_until

from .load import Load, Target
from .pushed import Fleet, push, replace, settle

OLD, NEW = "there was no 'nobody'", "nobody knows 'nobody'"
OTHERS = [
    Target("sqlite__list_tables", {}, ["["]),
    Target("filesystem__list_allowed_directories", {}, ["Allowed directories"]),
]


@contextmanager
def long_call(fleet: Fleet, server: str) -> Iterator[Future[str]]:
    """A call that is under way from now on until the block ends, which puts down the note that it waits for."""
    under_way = threading.Event()

    async def reported(done: float, total: float | None, message: str | None) -> None:
        under_way.set()

    async def wait_for_note() -> str:
        arguments = {"title": "long awaited", "seconds": 300}
        async with (
            httpx2.AsyncClient(headers={"X-API-Key": fleet.key}, timeout=120 * SECOND) as http,
            Client(streamable_http_client(f"{fleet.cloud.url}/s/{server}/mcp", http_client=http)) as client,
        ):
            result = await client.call_tool("wait_for_note", arguments, progress_callback=reported)
            return getattr(result.content[0], "text", "")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asyncio.run, wait_for_note())
        try:
            wait_until(under_way.is_set, "the long call to be under way")
            yield waiting
        finally:
            fleet.cloud.call(server, "add_note", fleet.key, title="long awaited", text="and here it is")


def held_by_rollout(fleet: Fleet) -> bool:
    return any(project["rollout"] for project in fleet.cloud.status()["projects"])


@pytest.mark.parametrize(("server", "sessions"), [("notes", "per-principal"), ("board", "shared")])
def test_nothing_fails_while_a_change_is_pushed_and_rolled_back(fleet: Fleet, server: str, sessions: str) -> None:
    cloud, project = fleet.cloud, fleet.project
    settle(cloud)
    assert cloud.server(server)["sessions_policy"] == sessions
    before = fleet.releases()
    served = next(r["commit"] for r in cloud.ask("releases", project=project.name)["releases"] if r["serving"])
    code = project.folder / f"servers/{server}/src/notes/server.py"
    replace(code, '"there was no {title!r}"', '"nobody knows {title!r}"')
    project.commit("other words")
    target = Target(f"{server}__delete_note", {"title": "nobody"}, [OLD, NEW])
    with Load(fleet, [target, OTHERS[0], target, OTHERS[1]]) as load:
        with long_call(fleet, server) as waiting:
            assert f"changed  {server}  (source changed)" in push(project)
            load.until(NEW)
            after = fleet.releases()
            assert {name for name in after if after[name] != before[name]} == {server}
            wait_until(lambda: not held_by_rollout(fleet), "the watch to end")
            assert cloud.server(server)["also"] == [{"release": before[server], "state": "draining"}]
            assert not waiting.done()
        assert "and here it is" in waiting.result()
        settle(cloud)
        load.until(NEW)

        assert cloud.ask("rollback", project=project.name, who="tester")["outcome"] == "rolled-back"
        load.until(OLD)
        settle(cloud)
        load.until(OLD)
    assert load.failed == []
    back = fleet.releases()
    assert {name for name in back if back[name] != before[name]} <= {server}
    assert project.remote_head() == served
    project.git("reset", "-q", "--hard", served)
    cloud.call(server, "delete_note", fleet.key, title="long awaited")
