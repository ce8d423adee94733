"""The official SDKs as clients, over every transport, at both endpoints, in front of servers of either era."""

import asyncio
import json
import subprocess
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.peers import sdk1_python
from tests.waiting import SECOND

from .clients import PATIENCE
from .cloud import Cloud

ENDPOINTS = [("/mcp", "sdk__"), ("/s/sdk/mcp", "")]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
@pytest.mark.parametrize(("path", "prefix"), ENDPOINTS)
def test_the_sdk_v2_lists_and_calls(cloud: Cloud, path: str, prefix: str, mode: str) -> None:
    async def use() -> None:
        progress: list[float] = []

        async def reported(done: float, total: float | None, message: str | None) -> None:
            progress.append(done)

        async with httpx2.AsyncClient(headers={"X-API-Key": cloud.key}, timeout=PATIENCE) as http:
            transport = streamable_http_client(cloud.url + path, http_client=http)
            async with Client(transport, mode=mode) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert f"{prefix}echo" in names
                echoed = await client.call_tool(f"{prefix}echo", {"text": "hello ü"})
                assert echoed.content[0].text == "hello ü"  # type: ignore[union-attr]
                worked = await client.call_tool(f"{prefix}work", {"steps": 2}, progress_callback=reported)
                assert worked.content[0].text == "worked"  # type: ignore[union-attr]
                assert (await client.call_tool(f"{prefix}fail", {})).is_error
                assert progress == [0, 1]

    asyncio.run(asyncio.wait_for(use(), 60 * SECOND))


@pytest.mark.parametrize("server", ["plain", "both"])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_each_era_of_client_meets_each_era_of_server(cloud: Cloud, server: str, mode: str) -> None:
    async def use() -> None:
        async with httpx2.AsyncClient(headers={"X-API-Key": cloud.key}, timeout=PATIENCE) as http:
            transport = streamable_http_client(f"{cloud.url}/s/{server}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
                answer = await client.call_tool("echo", {"text": "x"})
                assert answer.content[0].text == "x"  # type: ignore[union-attr]

    asyncio.run(asyncio.wait_for(use(), 60 * SECOND))


@pytest.mark.parametrize("kind", ["http", "ws"])
@pytest.mark.parametrize(("path", "prefix"), ENDPOINTS)
def test_the_sdk_v1_lists_and_calls(cloud: Cloud, path: str, prefix: str, kind: str) -> None:
    url = (cloud.url if kind == "http" else cloud.ws_url) + path
    client = Path(__file__).with_name("sdk1_client.py")
    argv = [str(sdk1_python()), str(client), kind, url, cloud.key, prefix]
    done = subprocess.run(argv, capture_output=True, timeout=120 * SECOND, check=False)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["server"] == ("central-mcp" if prefix else "plain")
    assert seen["version"] == "2025-11-25"
    assert f"{prefix}echo" in seen["tools"]
    assert seen["texts"] == ["hello ü", "worked"]
    assert (seen["failed"], seen["progress"]) == (True, [0, 1])
