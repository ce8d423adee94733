"""A client of the SDK for Python v1 (legacy era only), run in an environment of its own: `http|ws URL KEY PREFIX`."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession


@asynccontextmanager
async def transport(kind, url, key):
    headers = {"Authorization": f"Bearer {key}"}
    if kind == "http":
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(url, headers=headers) as (read, write, _):
            yield read, write
        return
    import mcp.client.websocket as module

    dial = module.ws_connect  # the SDK's client takes no headers: give it ours

    def connect(*args, **options):
        return dial(*args, additional_headers=headers, **options)

    module.ws_connect = connect
    async with module.websocket_client(url) as (read, write):
        yield read, write


async def main(kind, url, key, prefix):
    async with transport(kind, url, key) as (read, write), ClientSession(read, write) as session:
        opened = await session.initialize()
        await session.send_ping()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        progress = []

        async def reported(done, total, message):
            progress.append(done)

        echoed = await session.call_tool(f"{prefix}echo", {"text": "hello ü"})
        worked = await session.call_tool(f"{prefix}work", {"steps": 2}, progress_callback=reported)
        failed = await session.call_tool(f"{prefix}fail", {})
    seen = {
        "server": opened.serverInfo.name,
        "version": opened.protocolVersion,
        "tools": tools,
        "texts": [result.content[0].text for result in (echoed, worked)],
        "failed": failed.isError,
        "progress": progress,
    }
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
