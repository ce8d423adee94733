"""What clients see of a push: pages of a list, list_changed, a tool that went, an unchanged cloud; and who may in."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp.types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.cloud import Project, server_code
from tests.integration.bridge.client import BridgeProcess
from tests.waiting import SECOND, wait_until

from .peers import every_tool
from .pushed import BRIDGE, Fleet, push, replace, settle

PATIENCE = 60 * SECOND
ECHO = '[{"name": "echo", "inputSchema": {"type": "object"}}]'
WIDE = '[{"name": f"t{n:04}", "inputSchema": {"type": "object"}} for n in range(1040)]'
MORE = WIDE.replace("]", ' if n != 7] + [{"name": "added", "inputSchema": {"type": "object"}}]')[:-1] + "]"


@pytest.fixture(scope="module")
def wide(fleet: Fleet) -> Project:
    """A second project: one server with more tools than a page has room for."""
    project = fleet.cloud.project("PROJECT_wide")
    project.declare("wide", "spare")
    project.write("wide/server.py", server_code("wide").replace(ECHO, WIDE))
    project.commit("a wide server")
    push(project, "detach")
    return project


@asynccontextmanager
async def client(fleet: Fleet, way: str, mode: str, **options: Any) -> Any:
    if way == "bridge":
        async with Client(StdioServerParameters(command=BRIDGE, env=fleet.bridge()), mode=mode, **options) as found:
            yield found
        return
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": fleet.key}, timeout=PATIENCE) as http,
        Client(streamable_http_client(f"{fleet.cloud.url}/mcp", http_client=http), mode=mode, **options) as found,
    ):
        yield found


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("way", ["bridge", "http"])
def test_many_tools_come_in_pages_each_under_its_servers_name(fleet: Fleet, wide: Project, way: str, mode: str) -> None:
    async def use() -> None:
        async with asyncio.timeout(PATIENCE), client(fleet, way, mode) as found:
            names, pages = await every_tool(found)
            assert pages == 2
            assert len(names) == len(set(names))
            assert {name.split("__")[0] for name in names} == set(fleet.releases())
            assert {f"wide__t{n:04}" for n in range(1040)} <= set(names)
            assert {"sqlite__read_query", "git__git_log", "filesystem__write_file", "notes__add_note"} <= set(names)

    asyncio.run(use())


def test_a_push_that_adds_and_removes_a_tool_is_told_and_the_removed_one_refused(fleet: Fleet, wide: Project) -> None:
    async def use() -> None:
        told = asyncio.Event()

        async def handler(message: Any) -> None:
            if isinstance(message, types.ToolListChangedNotification):
                told.set()

        async with (
            asyncio.timeout(PATIENCE),
            client(fleet, "bridge", "legacy", message_handler=handler) as old,
            client(fleet, "http", "auto") as new,
            client(fleet, "bridge", "auto") as bridged,
            new.listen(tools_list_changed=True) as events,
            bridged.listen(tools_list_changed=True) as more_events,
        ):
            for each in (old, new, bridged):
                assert "wide__t0007" in (await every_tool(each))[0]
            replace(wide.folder / "wide/server.py", WIDE, MORE)
            wide.commit("one tool more, one less")
            pushed = asyncio.create_task(asyncio.to_thread(push, wide, "detach"))
            await told.wait()
            await anext(aiter(events))
            await anext(aiter(more_events))
            await pushed
            for each in (old, new, bridged):
                names, _ = await every_tool(each)
                assert "wide__added" in names
                assert "wide__t0007" not in names
                assert not (await each.call_tool("wide__added", {})).is_error
                with pytest.raises(MCPError, match="Unknown tool: wide__t0007"):
                    await each.call_tool("wide__t0007", {})

    asyncio.run(use())


def test_a_push_that_changes_nothing_starts_no_ansible(fleet: Fleet) -> None:
    settle(fleet.cloud)
    runs, releases = sorted((fleet.cloud.home.log / "rollouts").iterdir()), fleet.releases()
    fleet.project.write("NOTES.md", "words\n")
    commit = fleet.project.commit("words")
    assert "nothing to deploy" in push(fleet.project)
    assert fleet.project.remote_head() == commit
    assert sorted((fleet.cloud.home.log / "rollouts").iterdir()) == runs
    assert fleet.releases() == releases


def ready(fleet: Fleet) -> dict[str, Any]:
    with urllib.request.urlopen(f"{fleet.cloud.url}/ready", timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def listed(url: str, headers: dict[str, str]) -> list[str]:
    """Names in tools/list, asked as a modern client does."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    fixed = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), {**fixed, **headers})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return [tool["name"] for tool in json.load(answer)["result"]["tools"]]


@pytest.mark.parametrize("server", ["notes", "board"])
def test_a_server_that_listens_answers_on_its_own_port_to_who_has_a_key(fleet: Fleet, server: str) -> None:
    """Another cloud of this machine may have the port: then /ready names it, and everything else works."""
    port = fleet.cloud.server(server)["port"]

    def settled() -> str:
        missing = next((m for m in ready(fleet)["not_ready"] if m["what"] == "ports"), {"ports": {}})
        return "open" if str(port) not in missing["ports"] and taken(port) else missing["ports"].get(str(port), "")

    state = wait_until(settled, f"port {port} to be open, or refused")
    if state != "open":
        assert f"port {port} on 127.0.0.1 cannot be listened on" in state
        assert taken(port)
        return
    url = f"http://127.0.0.1:{port}/mcp"
    assert "add_note" in listed(url, {"Authorization": f"Bearer {fleet.key}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        listed(url, {})
    with refused.value as answer:
        assert answer.code == 401
        assert "key" in json.load(answer)["error"]["message"]


def test_a_key_opens_only_its_own_project(fleet: Fleet, wide: Project) -> None:
    url, theirs = f"{fleet.cloud.url}/mcp", fleet.cloud.key(wide.name)
    assert "notes__add_note" in listed(url, {"X-API-Key": theirs, "X-Central-Project": wide.name})
    for key, project in ((fleet.key, wide.name), (theirs, fleet.project.name)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            listed(url, {"X-API-Key": key, "X-Central-Project": project})
        with refused.value as answer:
            assert answer.code == 403
            assert json.load(answer)["error"]["code"] == 40300
    with BridgeProcess(fleet.ws_url + "/mcp", API_KEY=theirs, PROJECT_NAME=fleet.project.name) as bridge:
        bridge.request(1, "tools/list")
        error = bridge.answer(1)["error"]
        assert error["code"] == 40300
        assert fleet.project.name in error["message"]
