"""What the example's servers are, once built and deployed: their eras, their surroundings, and a cancelled call."""

import asyncio
import json
import shutil

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.waiting import SECOND

from .pushed import Fleet

BOTH, LEGACY = {"modern", "legacy"}, {"legacy"}


@pytest.mark.parametrize(
    ("server", "eras", "sessions"),
    [
        ("sqlite", LEGACY, "shared"),
        ("filesystem", LEGACY, "shared"),
        ("git", {"modern"}, "shared"),
        ("fetch", {"modern"}, "shared"),
        ("notes", BOTH, "per-principal"),
        ("board", {"modern"}, "shared"),
    ],
)
def test_the_gate_found_each_servers_eras(fleet: Fleet, server: str, eras: set[str], sessions: str) -> None:
    found = fleet.cloud.server(server)
    assert set(found["eras"]) == eras
    assert found["sessions_policy"] == sessions


def test_fetch_finds_no_node_on_its_path(fleet: Fleet) -> None:
    """With one, a library of it would install packages at the first call."""
    tables = [json.loads(file.read_bytes()) for file in (fleet.cloud.home.etc / "runner").glob("*.json")]
    paths = {s["name"]: s["env"]["PATH"] for table in tables for s in table["servers"]}
    assert shutil.which("node", path=paths["filesystem"]) is not None
    assert shutil.which("node", path=paths["fetch"]) is None


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_cancelled_call_ends_and_the_next_one_works(fleet: Fleet, mode: str) -> None:
    async def use() -> None:
        arrived = asyncio.Event()

        async def reported(done: float, total: float | None, message: str | None) -> None:
            arrived.set()

        async with (
            asyncio.timeout(60 * SECOND),
            httpx2.AsyncClient(headers={"X-API-Key": fleet.key}, timeout=60 * SECOND) as http,
            Client(streamable_http_client(f"{fleet.cloud.url}/s/notes/mcp", http_client=http), mode=mode) as client,
        ):
            never = {"title": "never", "seconds": 600}
            waiting = asyncio.create_task(client.call_tool("wait_for_note", never, progress_callback=reported))
            await arrived.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not (await client.call_tool("search_notes", {"text": "never"})).is_error

    asyncio.run(use())
