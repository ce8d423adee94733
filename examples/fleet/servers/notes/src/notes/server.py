"""The tools. Each is a typed function; the SDK makes its schema from the signature."""

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from notes import __version__
from notes.store import Note, Store

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
REMOVES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


def create(store: Store) -> MCPServer:
    server = MCPServer("notes", version=__version__, instructions="Keeps short notes. Search before you add.")

    @server.tool(annotations=ADDS)
    async def add_note(title: str, text: str) -> str:
        """Keep a note; one with the same title is replaced."""
        store.put(Note(title, text))
        return f"kept {title!r}"

    @server.tool(annotations=READS)
    async def read_note(title: str) -> Note:
        """The note with exactly this title."""
        note = store.get(title)
        if note is None:
            raise ToolError(f"there is no note {title!r}; search_notes finds titles")
        return note

    @server.tool(annotations=READS)
    async def search_notes(text: str = "") -> list[Note]:
        """Notes that hold the text in title or body; all of them without one."""
        return store.search(text)

    @server.tool(annotations=REMOVES)
    async def delete_note(title: str) -> str:
        """Remove a note."""
        return f"removed {title!r}" if store.delete(title) else f"there was no {title!r}"

    @server.tool(annotations=READS)
    async def review_notes(ctx: Context, steps: int = 5, pause: float = 0.1) -> str:
        """Go through all notes in some steps, telling the progress, and say how many words they have."""
        notes = store.search("")
        for step in range(1, steps + 1):
            await asyncio.sleep(pause)
            await ctx.report_progress(step, steps, f"step {step} of {steps}")
        words = sum(len(f"{note.title} {note.text}".split()) for note in notes)
        return f"{len(notes)} notes, {words} words"

    @server.tool(annotations=READS)
    async def wait_for_note(ctx: Context, title: str, seconds: float = 30.0) -> Note:
        """Wait until there is a note with this title. Takes as long as it takes; may be cancelled."""
        waited = 0.0
        while (note := store.get(title)) is None:
            if waited >= seconds:
                raise ToolError(f"no note {title!r} within {seconds:g} s")
            await ctx.report_progress(waited, seconds, f"no {title!r} yet")
            await asyncio.sleep(0.25)
            waited += 0.25
        return note

    return server
