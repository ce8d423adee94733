"""A pushed one-line change, and a rollback, under a steady load: no call fails, and nobody else is touched."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from .load import Load, Target
from .pushed import Fleet, push, replace, settle

OLD, NEW = "there was no 'nobody'", "nobody knows 'nobody'"
OTHERS = [
    Target("sqlite__list_tables", {}, ["["]),
    Target("filesystem__list_allowed_directories", {}, ["Allowed directories"]),
]


async def wait_for_note(fleet: Fleet, server: str, title: str) -> str:
    """A call that is under way until the note is there."""
    headers = {"Authorization": f"Bearer {fleet.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120) as http,
        Client(streamable_http_client(f"{fleet.cloud.url}/s/{server}/mcp", http_client=http)) as client,
    ):
        result = await client.call_tool("wait_for_note", {"title": title, "seconds": 55})
        return getattr(result.content[0], "text", "")


@pytest.mark.parametrize(("server", "sessions"), [("notes", "per-principal"), ("board", "shared")])
def test_nothing_fails_while_a_change_is_pushed_and_rolled_back(fleet: Fleet, server: str, sessions: str) -> None:
    cloud, project = fleet.cloud, fleet.project
    settle(cloud)
    assert cloud.server(server)["sessions_policy"] == sessions
    before = fleet.releases()
    served = next(r["commit"] for r in cloud.ask("releases", project=project.name)["releases"] if r["serving"])
    target = Target(f"{server}__delete_note", {"title": "nobody"}, [OLD, NEW])
    with Load(fleet, [target, OTHERS[0], target, OTHERS[1]]) as load, ThreadPoolExecutor(1) as pool:
        replace(
            project.folder / f"servers/{server}/src/notes/server.py",
            '"there was no {title!r}"',
            '"nobody knows {title!r}"',
        )
        project.commit("other words")
        waiting = pool.submit(asyncio.run, wait_for_note(fleet, server, "long awaited"))
        said = push(project)
        assert f"changed  {server}  (source changed)" in said
        load.until(NEW)
        after = fleet.releases()
        assert {name for name in after if after[name] != before[name]} == {server}
        cloud.call(server, "add_note", fleet.key, title="long awaited", text="and here it is")
        assert "and here it is" in waiting.result(120)
        settle(cloud)
        load.until(NEW)

        done = cloud.ask("rollback", project=project.name, who="tester")
        assert done["outcome"] == "rolled-back"
        load.until(OLD)
        settle(cloud)
        load.until(OLD)
    assert load.failed == []
    back = fleet.releases()
    assert {name for name in back if back[name] != before[name]} <= {server}
    assert project.remote_head() == served
    project.git("reset", "-q", "--hard", served)
    cloud.call(server, "delete_note", fleet.key, title="long awaited")
