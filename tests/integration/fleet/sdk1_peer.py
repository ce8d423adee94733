"""The SDK for Python v1 (legacy era only) as a client, in its own environment: an order a line, a report a line."""

import asyncio
import json
import sys
import traceback
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


@asynccontextmanager
async def transport(connection):
    if connection["kind"] == "bridge":
        parameters = StdioServerParameters(command=connection["command"], env=connection["env"])
        async with stdio_client(parameters) as (read, write):
            yield read, write
    elif connection["kind"] == "http":
        headers = {"Authorization": f"Bearer {connection['key']}"}
        async with streamablehttp_client(connection["url"], headers=headers) as (read, write, _):
            yield read, write
    else:
        import mcp.client.websocket as module
        from websockets.asyncio.client import connect

        def dial(*args, **options):  # the SDK's client takes no headers: give it ours
            return connect(*args, additional_headers={"X-API-Key": connection["key"]}, **options)

        module.ws_connect = dial
        async with module.websocket_client(connection["url"]) as (read, write):
            yield read, write


async def use(connection):
    async with transport(connection) as (read, write), ClientSession(read, write) as session:
        opened = await session.initialize()
        await session.send_ping()
        page = await session.list_tools()
        tools = [tool.name for tool in page.tools]
        while page.nextCursor:
            page = await session.list_tools(cursor=page.nextCursor)
            tools += [tool.name for tool in page.tools]
        answers = []
        for step in connection["steps"]:
            seen = []

            async def reported(done, total, message, seen=seen):
                seen.append(done)

            callback = reported if step["progress"] else None
            result = await session.call_tool(step["tool"], step["arguments"], progress_callback=callback)
            text = " ".join(part.text for part in result.content)
            answers.append({"text": text, "failed": result.isError, "progress": seen})
        return {"version": opened.protocolVersion, "tools": tools, "answers": answers}


async def work(order):
    return list(await asyncio.gather(*(use(connection) for connection in order)))


for line in sys.stdin:
    try:
        print(json.dumps({"reports": asyncio.run(work(json.loads(line)))}), flush=True)
    except BaseException:  # noqa: BLE001 - whatever it was, the test must hear of it
        print(json.dumps({"trouble": traceback.format_exc()}), flush=True)
