"""What the bridge says by itself: JSON-RPC answers, its own discover and initialize results, error texts.

Pure. Codes outside -32768..-32000 are the gateway's own, the same as the coordinator's. Called by `core`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import __version__

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNSUPPORTED_VERSION = -32022
MISCONFIGURED = 40000
REFUSED_KEY = 40100
REFUSED_PROJECT = 40300
UNAVAILABLE = 50300
OUTCOME_UNKNOWN = 50900

Id = int | str | None


@dataclass(frozen=True)
class Trouble:
    """Why the coordinator cannot be used now. `cause` and `hint` are for people; `final`: waiting does not help."""

    cause: str
    hint: str
    code: int = UNAVAILABLE
    final: bool = False

    def text(self, url: str) -> str:
        return f"central-mcp at {url}: {self.cause}. {self.hint}"


def encode(message: Any) -> bytes:
    """One line of JSON, in ASCII (so that lone surrogates survive)."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def result(id: Id, value: dict[str, Any]) -> bytes:
    return encode({"jsonrpc": "2.0", "id": id, "result": value})


def error(id: Id, code: int, message: str, data: dict[str, Any] | None = None) -> bytes:
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return encode({"jsonrpc": "2.0", "id": id, "error": body})


def notification(method: str, params: dict[str, Any] | None = None) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return encode(message)


def own_discover(known: dict[str, Any] | None, note: str | None) -> dict[str, Any]:
    """The bridge's own `server/discover` result; `known` is the last real one, `note` the trouble, if any."""
    answer: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": [MODERN, *LEGACY],
        "capabilities": _capabilities(known),
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {META_SERVER: _server_info(known)},
    }
    instructions = _instructions(known, note)
    if instructions:
        answer["instructions"] = instructions
    return answer


def own_initialize(asked: object, known: dict[str, Any] | None, note: str | None) -> dict[str, Any]:
    """The bridge's own `initialize` result for a client that asked for version `asked`."""
    capabilities = {name: value for name, value in _capabilities(known).items() if name != "extensions"}
    answer: dict[str, Any] = {
        "protocolVersion": asked if asked in LEGACY else LEGACY[0],
        "capabilities": capabilities,
        "serverInfo": _server_info(known),
    }
    instructions = _instructions(known, note)
    if instructions:
        answer["instructions"] = instructions
    return answer


def discover(id: Id, asked: object, known: dict[str, Any] | None, note: str | None) -> bytes:
    """The bridge's own answer to `server/discover` at version `asked`."""
    if isinstance(asked, str) and asked not in (MODERN, *LEGACY):
        data = {"supported": [MODERN, *LEGACY], "requested": asked}
        return error(id, UNSUPPORTED_VERSION, "Unsupported protocol version", data)
    return result(id, own_discover(known, note))


def session_changes(known: dict[str, Any] | None, uris: Iterable[str]) -> list[bytes]:
    """What a legacy client must hear after a gap: ask again for all that it was told exists."""
    kinds = [kind for kind in ("tools", "prompts", "resources") if kind in _capabilities(known)]
    updated = [notification("notifications/resources/updated", {"uri": uri}) for uri in uris]
    return [notification(f"notifications/{kind}/list_changed") for kind in kinds] + updated


def listen_changes(id: Id, wanted: object) -> list[bytes]:
    """What a `subscriptions/listen` with the filter `wanted` must say after a gap."""
    wanted = wanted if isinstance(wanted, dict) else {}
    meta = {META_SUBSCRIPTION: id}
    found = [
        notification(f"notifications/{kind}/list_changed", {"_meta": meta})
        for kind in ("tools", "prompts", "resources")
        if wanted.get(f"{kind}ListChanged") is True
    ]
    uris = wanted.get("resourceSubscriptions")
    for uri in uris if isinstance(uris, list) else ():
        found.append(notification("notifications/resources/updated", {"uri": uri, "_meta": meta}))
    return found


def listen_ended(id: Id) -> bytes:
    return result(id, {"resultType": "complete", "_meta": {META_SUBSCRIPTION: id}})


def outcome_unknown(id: Id, what: str, url: str, why: str) -> bytes:
    return error(
        id,
        OUTCOME_UNKNOWN,
        f"central-mcp: the connection to {url} was lost ({why}) while {what} was under way, so its outcome is"
        " unknown: it may or may not have taken effect. Check before you call it again; the bridge reconnects"
        " by itself.",
        {"outcome": "unknown", "what": what},
    )


def _capabilities(known: dict[str, Any] | None) -> dict[str, Any]:
    found = known.get("capabilities") if known else None
    return found if isinstance(found, dict) else {"tools": {"listChanged": True}}


def _server_info(known: dict[str, Any] | None) -> dict[str, Any]:
    if known:
        meta = known.get("_meta")
        found = known.get("serverInfo") or (meta.get(META_SERVER) if isinstance(meta, dict) else None)
        if isinstance(found, dict):
            return found
    return {"name": "central-mcp", "version": __version__}


def _instructions(known: dict[str, Any] | None, note: str | None) -> str:
    found = known.get("instructions") if known else None
    told = f"When this session was opened there was no connection yet. {note} It is tried again all the time."
    parts = [found if isinstance(found, str) else "", told if note else ""]
    return "\n\n".join(part for part in parts if part)
