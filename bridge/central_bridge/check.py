"""`central-mcp-bridge --check`: connects as the bridge would, counts the tools, says in words what is wrong."""

import asyncio
import json
import time
from typing import Any

from . import answers
from .bridge import LIMIT
from .calls import DISCOVER
from .config import Settings
from .wire import DialError, Loss, Wire, dial

ANSWER_S = 30.0


def check(settings: Settings) -> int:
    """Print one line; 0 when tools could be listed, else 1."""
    try:
        line = asyncio.run(_check(settings))
    except DialError as error:
        print(f"failed: {error.trouble.text(settings.url)}")
        return 1
    except (TimeoutError, ConnectionError) as error:
        print(f"failed: central-mcp at {settings.url}: connected, but {error or 'it gave no answer in time'}")
        return 1
    print(line)
    return 0


class _Peer:
    """Asks one thing at a time."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[dict[str, Any] | Loss] = asyncio.Queue()
        self._wanted = 0

    def wire_frames(self, frames: list[bytes]) -> None:
        for frame in frames:
            message = json.loads(frame)
            if isinstance(message, dict) and message.get("id") == self._wanted and "method" not in message:
                self.answers.put_nowait(message)

    def wire_room(self, room: bool) -> None: ...

    def wire_lost(self, wire: Wire, loss: Loss) -> None:
        self.answers.put_nowait(loss)

    async def ask(self, wire: Wire, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._wanted += 1
        meta = {
            answers.META_VERSION: answers.MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "central-mcp-bridge --check", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": self._wanted, "method": method, "params": {**params, "_meta": meta}}
        wire.send([answers.encode(message)])
        try:
            answer = await asyncio.wait_for(self.answers.get(), ANSWER_S)
        except TimeoutError:
            raise TimeoutError(f"{method} was not answered within {ANSWER_S:g} s") from None
        if isinstance(answer, Loss):
            raise ConnectionError(f"the connection was lost: {answer.why}")
        if "error" in answer:
            error = answer["error"]
            raise ConnectionError(f"{method} was answered with error {error.get('code')}: {error.get('message')}")
        result = answer.get("result")
        return result if isinstance(result, dict) else {}


async def _check(settings: Settings) -> str:
    began = time.monotonic()
    peer = _Peer()
    wire = await dial(settings, settings.key, 2 * LIMIT, peer)
    try:
        found = await peer.ask(wire, DISCOVER, {})
        tools, cursor, pages = 0, None, 0
        while pages == 0 or (cursor and pages < 1000):
            page = await peer.ask(wire, "tools/list", {"cursor": cursor} if cursor else {})
            tools += len(page.get("tools") or ())
            cursor, pages = page.get("nextCursor"), pages + 1
    finally:
        await wire.close(0.5)
    meta = found.get("_meta")
    info = meta.get(answers.META_SERVER) if isinstance(meta, dict) else None
    name = f"{info.get('name')} {info.get('version')}" if isinstance(info, dict) else "an MCP server"
    took = (time.monotonic() - began) * 1000
    return f"ok: {name} at {settings.url}, project {settings.project}, {tools} tools, {took:.0f} ms"
