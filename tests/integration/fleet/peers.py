"""The official SDK clients behind one call: `run(peer, order)` gives the reports."""

import asyncio
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.peers import sdk1_python
from tests.waiting import SECOND

from .orders import Connection, Report

PATIENCE = 60 * SECOND


def run_sdk2(mode: str, order: list[Connection]) -> list[Report]:
    async def work() -> list[Report]:
        async with asyncio.timeout(PATIENCE):
            return list(await asyncio.gather(*(_use(mode, connection) for connection in order)))

    return asyncio.run(work())


async def _use(mode: str, connection: Connection) -> Report:
    if connection["kind"] == "bridge":
        parameters = StdioServerParameters(command=connection["command"], env=connection["env"])
        async with Client(parameters, mode=mode, read_timeout_seconds=PATIENCE) as client:
            return await _work(client, connection)
    headers = {"Authorization": f"Bearer {connection['key']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http,
        Client(streamable_http_client(connection["url"], http_client=http), mode=mode) as client,
    ):
        return await _work(client, connection)


async def _work(client: Client, connection: Connection) -> Report:
    tools, _ = await every_tool(client)
    answers = []
    for step in connection["steps"]:
        seen: list[float] = []

        async def reported(done: float, total: float | None, message: str | None, seen: list[float] = seen) -> None:
            seen.append(done)

        callback = reported if step["progress"] else None
        result = await client.call_tool(step["tool"], step["arguments"], progress_callback=callback)
        text = " ".join(getattr(part, "text", "") for part in result.content)
        answers.append({"text": text, "failed": result.is_error, "progress": seen})
    return {"version": str(client.protocol_version), "tools": tools, "answers": answers}


async def every_tool(client: Client) -> tuple[list[str], int]:
    """All names, and how many pages they came in."""
    page = await client.list_tools()
    names, pages = [tool.name for tool in page.tools], 1
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        names += [tool.name for tool in page.tools]
        pages += 1
    return names, pages


class Sdk1:
    """A client of the SDK v1, kept for many orders. Use as a context manager."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("sdk1_peer.py")
        self._process = subprocess.Popen(
            [sdk1_python(), "-W", "ignore", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Sdk1":
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._lines.put(line)

    def run(self, order: list[Connection]) -> list[Report]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._lines.get(timeout=2 * PATIENCE))
        assert "trouble" not in answer, answer["trouble"]
        return list(answer["reports"])
