"""The official SDK clients call tools of real servers through the bridge and a real coordinator and router."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.integration.bridge.client import BridgeProcess, environment
from tests.integration.bridge.peer import Peer
from tests.integration.coordinator.cloud import Cloud
from tests.peers import SERVERS, sdk1_python
from tests.waiting import SECOND, wait_until

MODES = ["auto", "legacy", "2026-07-28"]
TOOLS: list[dict[str, Any]] = [
    {"name": name, "description": name, "inputSchema": {"type": "object"}} for name in ("echo", "fail", "work", "wait")
]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        cloud.serve("work", [sys.executable, str(SERVERS / "sdk2.py")], tools=TOOLS, eras=("modern", "legacy"))
        yield cloud.start()


def parameters(cloud: Cloud, path: str = "/mcp", **env: str) -> StdioServerParameters:
    found = environment(cloud.ws_url + path, API_KEY=cloud.key, PROJECT_NAME="PROJECT_one", **env)
    return StdioServerParameters(command=sys.executable, args=["-m", "central_bridge"], env=found)


@pytest.mark.parametrize("mode", MODES)
def test_sdk_2_lists_and_calls(cloud: Cloud, mode: str):
    async def go() -> None:
        async with Client(parameters(cloud), mode=mode, read_timeout_seconds=30 * SECOND) as client:
            listed = await client.list_tools()
            assert sorted(tool.name for tool in listed.tools) == [f"work__{name['name']}" for name in sorted_tools()]
            for number in range(3):
                result = await client.call_tool("work__echo", {"text": f"hello {number} ü"})
                assert result.content[0].text == f"hello {number} ü"  # type: ignore[union-attr]
            failed = await client.call_tool("work__fail", {})
            assert failed.is_error

    asyncio.run(go())


@pytest.mark.parametrize("mode", MODES)
def test_sdk_2_reaches_one_server_by_its_own_names(cloud: Cloud, mode: str):
    async def go() -> None:
        async with Client(parameters(cloud, "/s/work/mcp"), mode=mode, read_timeout_seconds=30 * SECOND) as client:
            result = await client.call_tool("echo", {"text": "plain"})
            assert result.content[0].text == "plain"  # type: ignore[union-attr]

    asyncio.run(go())


@pytest.mark.parametrize("mode", MODES)
def test_progress_arrives_and_a_cancelled_call_harms_nobody(cloud: Cloud, mode: str):
    steps: list[float] = []

    async def progressed(done: float, total: float | None, message: str | None) -> None:
        steps.append(done)

    async def go() -> None:
        async with Client(parameters(cloud), mode=mode, read_timeout_seconds=30 * SECOND) as client:
            worked = await client.call_tool("work__work", {"steps": 3}, progress_callback=progressed)
            assert worked.content[0].text == "worked"  # type: ignore[union-attr]
            waiting = asyncio.ensure_future(client.call_tool("work__wait", {}))
            await client.call_tool("work__echo", {"text": "so the other is under way"})
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            result = await client.call_tool("work__echo", {"text": "on"})
            assert result.content[0].text == "on"  # type: ignore[union-attr]

    asyncio.run(go())
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_sdk_2_may_start_before_the_cloud(mode: str):
    async def go() -> None:
        with Peer() as peer:
            found = StdioServerParameters(
                command=sys.executable, args=["-m", "central_bridge"], env=environment(peer.url)
            )
            async with Client(found, mode=mode, read_timeout_seconds=30 * SECOND) as client:
                listing = asyncio.ensure_future(client.list_tools())
                peer.start()
                assert len((await listing).tools) == 4
                result = await client.call_tool("demo__echo", {"text": "late"})
                assert result.content[0].text == "late"  # type: ignore[union-attr]

    asyncio.run(go())


def test_sdk_1_lists_and_calls(cloud: Cloud):
    given = parameters(cloud)
    order = {"command": given.command, "arguments": given.args, "env": given.env}
    done = subprocess.run(
        [sdk1_python(), "-W", "ignore", Path(__file__).with_name("sdk1_client.py")],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        timeout=120 * SECOND,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert sorted(seen["tools"]) == [f"work__{name['name']}" for name in sorted_tools()]
    assert seen["texts"] == ["hello 0 ü", "hello 1 ü", "hello 2 ü"]
    assert seen["version"] == "2025-11-25"


def test_check_counts_the_tools(cloud: Cloud):
    env = parameters(cloud).env
    done = subprocess.run(
        [sys.executable, "-m", "central_bridge", "--check"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60 * SECOND,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 tools" in done.stdout


@pytest.mark.parametrize(
    ("key", "project", "code"),
    [("cmk_nobody", "PROJECT_one", 40100), ("", "PROJECT_one", 40000), ("own", "PROJECT_two", 40300)],
)
def test_what_the_coordinator_refuses_is_told_in_words(cloud: Cloud, key: str, project: str, code: int):
    with BridgeProcess(
        f"{cloud.ws_url}/mcp", API_KEY=cloud.key if key == "own" else key, PROJECT_NAME=project
    ) as bridge:
        bridge.request(1, "tools/list")
        error = bridge.answer(1)["error"]
        assert error["code"] == code
        assert "key" in error["message"].lower()


@pytest.mark.parametrize("modern", [True, False])
def test_a_new_server_is_told_to_the_client(modern: bool):
    with Cloud() as cloud:
        cloud.serve("one")
        cloud.start()
        with BridgeProcess(f"{cloud.ws_url}/mcp", API_KEY=cloud.key, PROJECT_NAME="PROJECT_one") as bridge:
            if modern:
                bridge.request("l", "subscriptions/listen", notifications={"toolsListChanged": True})
                bridge.line(lambda line: "acknowledged" in line.get("method", ""), "the acknowledgement")
            else:
                bridge.initialize()
            bridge.request(1, "tools/list", modern=modern)
            bridge.answer(1)
            cloud.serve("two")
            bridge.line(lambda line: line.get("method") == "notifications/tools/list_changed", "list_changed")
            bridge.request(2, "tools/list", modern=modern)
            names = {tool["name"] for tool in bridge.answer(2)["result"]["tools"]}
            assert {"one__echo", "two__echo"} <= names


def test_a_coordinator_killed_under_load_costs_each_call_one_answer_at_most():
    """No list and no call that was not under way fails; what was under way gets one error that says so."""
    with Cloud() as cloud:
        cloud.serve("work", [sys.executable, str(SERVERS / "sdk2.py")], tools=TOOLS, eras=("modern", "legacy"))
        cloud.start()
        with BridgeProcess(f"{cloud.ws_url}/mcp", API_KEY=cloud.key, PROJECT_NAME="PROJECT_one") as bridge:
            bridge.initialize("init")
            bridge.request("tools", "tools/list", modern=False)
            bridge.answer("tools")
            number = 0
            for _ in range(3):
                bridge.call(f"wait{number}", "work__wait")
                bridge.request(f"behind{number}", "tools/list", modern=False)
                bridge.answer(f"behind{number}")  # so the call before it is under way
                cloud.running[-1].kill()
                cloud.running[-1].wait()
                for _ in range(10):
                    bridge.request(number, "tools/list", modern=False)
                    number += 1
                cloud.start_coordinator()
                bridge.answer(number - 1)
            wait_until(lambda: all(bridge.answers(id) for id in range(number)), "every answer")
            assert all(len(bridge.answers(id)) == 1 for id in range(number))
            assert all("result" in bridge.answers(id)[0] for id in range(number))
            assert [len(bridge.answers(f"wait{n}")) for n in (0, 10, 20)] == [1, 1, 1]
            assert bridge.answers("wait0")[0]["error"]["code"] == 50900


def sorted_tools() -> list[dict[str, Any]]:
    return sorted(TOOLS, key=lambda tool: tool["name"])
