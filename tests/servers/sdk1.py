"""A server of the SDK for Python, v1 (legacy era only)."""

import asyncio

from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("sdk1", instructions="Ask for echo.")


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


server.run("stdio")
