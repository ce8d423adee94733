"""A server of the SDK for Python, v2 (both eras)."""

import asyncio

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk2", instructions="Ask for echo.")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def fail() -> str:
    """Raise."""
    raise ValueError("failed as told")


@server.tool()
async def work(steps: int, ctx: Context) -> str:
    """Report progress."""
    for step in range(steps):
        await ctx.report_progress(step, steps)
    return "worked"


@server.tool()
async def wait() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


@server.tool()
async def grow(ctx: Context) -> str:
    """Say that the tools have changed."""
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


server.run("stdio")
