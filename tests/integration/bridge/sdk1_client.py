"""An MCP client of the SDK for Python v1 (legacy era only), run in an environment of its own; prints what it saw."""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(command: str, arguments: list[str], env: dict[str, str]) -> None:
    parameters = StdioServerParameters(command=command, args=arguments, env=env)
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        opened = await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        await session.send_ping()
        texts = []
        for number in range(3):
            result = await session.call_tool("work__echo", {"text": f"hello {number} ü"})
            texts.append(result.content[0].text)
        seen = {"server": opened.serverInfo.name, "version": opened.protocolVersion, "tools": tools, "texts": texts}
        print(json.dumps(seen))


given = json.loads(sys.stdin.readline())
asyncio.run(main(given["command"], given["arguments"], given["env"]))
