"""What the front says of itself and of servers: initialize, server/discover, and what either era agrees on.

Builds raw JSON; no I/O. Called by conversation.py and http.py.
"""

from typing import Any

import msgspec

from central_mcp.protocol import eras
from central_mcp.protocol.errors import InvalidParams, Unavailable
from central_mcp.protocol.messages import to_json
from central_mcp.protocol.neutral import Request
from central_mcp.registry import Release

from .directory import PROMPTS_CHANGED, RESOURCES_CHANGED, TOOLS_CHANGED, capabilities_of
from .front import Front

TTL_MS = 0
"""Any push may change what is listed here; clients that listen are told, the others ask again."""

MAX_AGREED = 4096
"""Bytes of a client's capabilities, and of its clientInfo: both travel in Mcp-Session-Id, a header."""

_AGGREGATE = {"tools": {"listChanged": True}}
_KINDS = {
    "toolsListChanged": ("tools", TOOLS_CHANGED),
    "promptsListChanged": ("prompts", PROMPTS_CHANGED),
    "resourcesListChanged": ("resources", RESOURCES_CHANGED),
}


class Agreed(msgspec.Struct):
    """What a legacy client and we agreed on by `initialize`. Sealed into Mcp-Session-Id over HTTP."""

    version: str
    capabilities: bytes = b"{}"
    client: bytes = b""
    log_level: str = ""
    listening: bool = True
    """Notifications outside of calls can reach this client here."""


def agree(request: Request) -> Agreed:
    """From the params of `initialize`. Raises `InvalidParams`."""
    fields = request.fields
    for key in ("capabilities", "clientInfo"):
        if key in fields and bytes(fields[key])[:1] != b"{":
            raise InvalidParams(f"params.{key} must be an object")
        if key in fields and len(bytes(fields[key])) > MAX_AGREED:
            raise InvalidParams(f"params.{key} may have {MAX_AGREED} bytes")
    version = eras.agree(request.text("protocolVersion"))
    return Agreed(version, bytes(fields.get("capabilities", b"{}")), bytes(fields.get("clientInfo", b"")))


def serving(front: Front, server: str) -> Release:
    """The serving release. Raises `Unavailable` when there is none (any more)."""
    entry = front.directory.entries.get(server)
    if entry is None or entry.release is None:
        why = "is not deployed any more" if entry is None else "has no release that serves"
        raise Unavailable(f"server {server!r} {why}; `central status` tells more")
    return entry.release


def initialized(front: Front, server: str, version: str) -> bytes:
    """The result of `initialize`."""
    result: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": _capabilities(front, server),
        "serverInfo": msgspec.Raw(_info(front, server)),
    }
    instructions = _instructions(front, server)
    if instructions:
        result["instructions"] = instructions
    return to_json(result)


def discovered(front: Front, server: str) -> bytes:
    """The result of `server/discover`."""
    capabilities = {key: value for key, value in _capabilities(front, server).items() if key != "logging"}
    result: dict[str, Any] = {"supportedVersions": list(eras.ALL_VERSIONS), "capabilities": capabilities}
    instructions = _instructions(front, server)
    if instructions:
        result["instructions"] = instructions
    return to_json(result)[:-1] + modern_tail(_info(front, server), cacheable=True) + b"}"


def modern_tail(info: bytes, *, cacheable: bool) -> bytes:
    """The members that close a modern result of ours, with a leading comma."""
    hints = b',"ttlMs":%d,"cacheScope":"private"' % TTL_MS if cacheable else b""
    return b',"resultType":"complete"%b,"_meta":{"%b":%b}' % (hints, eras.META_SERVER.encode(), info)


def server_info(front: Front, server: str, release: Release) -> bytes:
    """Who answers: at a server's own endpoint the server, in the aggregate we."""
    return to_json(release.server_info) if server and release.server_info else front.info


def listenable(front: Front, server: str) -> dict[str, str]:
    """Filter field of `subscriptions/listen` -> notification, as far as this endpoint can send it."""
    capabilities = _capabilities(front, server)
    return {field: method for field, (name, method) in _KINDS.items() if name in capabilities}


def _capabilities(front: Front, server: str) -> dict[str, Any]:
    return capabilities_of(serving(front, server)) if server else _AGGREGATE


def _info(front: Front, server: str) -> bytes:
    return server_info(front, server, serving(front, server)) if server else front.info


def _instructions(front: Front, server: str) -> str:
    return serving(front, server).instructions if server else front.instructions
