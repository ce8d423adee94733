"""The example fleet's servers, built from what its central.yml says, start and answer the official client."""

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from central_mcp.manifest import Catalogue, ResolvedServer, load, resolve
from central_mcp.rollout.environment import Built, build
from tests import site
from tests.integration.builds import make_home
from tests.waiting import SECOND

FLEET = Path(__file__).parents[2] / "examples/fleet"
MODERN = "2026-07-28"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    home = make_home(tmp_path_factory.mktemp("fleet"))
    release = home.projects / "PROJECT_fleet/releases/1-0000000"
    release.mkdir(parents=True)
    servers = resolve(load((FLEET / "central.yml").read_bytes()), Catalogue.read())

    def one(server: ResolvedServer) -> Built:
        if server.source:
            into = release / server.name
            shutil.copytree(FLEET / server.source, into, ignore=shutil.ignore_patterns("__pycache__"))
        return build(server, home=home, release_dir=release, previous_lock=None, on_line=print)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(servers, pool.map(one, servers.values()), strict=True))


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with site.page() as address:
        yield address


def connect(built: Built, mode: str = "auto") -> Client:
    """The official client on the server's stdio, started exactly as it was built."""
    parameters = StdioServerParameters(
        command=built.argv[0], args=list(built.argv[1:]), env=built.env, cwd=str(built.cwd)
    )
    return Client(stdio_client(parameters), mode=mode)


def ask(built: Built, tool: str, arguments: dict[str, Any], *, refused: bool = False) -> tuple[str, int, str]:
    """Revision that was negotiated, number of tools, text of the first answer."""

    async def run() -> tuple[str, int, str]:
        async with connect(built) as client, asyncio.timeout(120 * SECOND):
            tools = (await client.list_tools()).tools
            result = await client.call_tool(tool, arguments)
            text = getattr(result.content[0], "text", "")
            assert result.is_error is refused, text
            return str(client.protocol_version), len(tools), text

    return asyncio.run(run())


def test_sqlite(fleet: dict[str, Built]) -> None:
    version, tools, _ = ask(fleet["sqlite"], "create_table", {"query": "CREATE TABLE t (x)"})
    assert (version, tools) == ("2025-11-25", 6)
    assert "'t'" in ask(fleet["sqlite"], "list_tables", {})[2]


def test_filesystem(fleet: dict[str, Built]) -> None:
    built = fleet["filesystem"]
    (built.cwd / "hello.txt").write_text("hello from the file")
    version, tools, text = ask(built, "read_text_file", {"path": str(built.cwd / "hello.txt")})
    assert (version, tools, text) == ("2025-11-25", 14, "hello from the file")


def test_git(fleet: dict[str, Built]) -> None:
    version, tools, text = ask(fleet["git"], "git_log", {"repo_path": ".", "max_count": 1})
    assert (version, tools) == (MODERN, 12)
    assert "A repository to work in" in text


def test_fetch_without_node_on_its_path(fleet: dict[str, Built], web: str) -> None:
    built = fleet["fetch"]
    assert shutil.which("node", path=built.env["PATH"]) is None
    trusting = replace(built, argv=(*built.argv, "--allow-private-ips"))
    version, tools, text = ask(trusting, "fetch", {"url": web})
    assert (version, tools) == (MODERN, 1)
    assert site.WORDS in text


def test_fetch_as_it_ships_refuses_an_inner_address(fleet: dict[str, Built], web: str) -> None:
    *_, text = ask(fleet["fetch"], "fetch", {"url": web}, refused=True)
    assert "127.0.0.1, which is not a public address" in text


@pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), ("legacy", "2025-11-25")])
def test_notes_in_both_eras_with_progress_and_cancellation(fleet: dict[str, Built], mode: str, version: str) -> None:
    async def run() -> None:
        async with connect(fleet["notes"], mode) as client, asyncio.timeout(120 * SECOND):
            assert client.protocol_version == version
            await client.call_tool("add_note", {"title": mode, "text": "ping"})
            found = await client.call_tool("search_notes", {"text": "ping"})
            assert found.structured_content is not None
            assert {"title": mode, "text": "ping"} in found.structured_content["result"]

            seen: list[float] = []
            arrived = asyncio.Event()

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                seen.append(progress)
                arrived.set()

            await client.call_tool("review_notes", {"steps": 3, "pause": 0}, progress_callback=on_progress)
            assert seen == [1, 2, 3]

            arrived.clear()
            waiting = asyncio.create_task(
                client.call_tool("wait_for_note", {"title": "never", "seconds": 600}, progress_callback=on_progress)
            )
            await arrived.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not (await client.call_tool("delete_note", {"title": mode})).is_error

    asyncio.run(run())
