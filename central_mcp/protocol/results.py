"""A back's result to the era and version of the front: what must be added, and what an older client must not see.

Pure. Called for every answer. Source: MCP 2026-07-28 (caching, results), 2025-06-18 (resource links, structured
content) and 2025-03-26 (audio). Whatever a back claims under the reserved `_meta` keys is dropped and, for a modern
front, stamped anew: a server must not speak for the gateway.
"""

from typing import Any

import msgspec
from msgspec import Raw

from .eras import CACHEABLE, LEGACY, META_SERVER, RESERVED
from .errors import InternalError, InvalidRequest

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode
_COMPLETE = Raw(b'"complete"')
_PRIVATE = Raw(b'"private"')
_ZERO = Raw(b"0")
_MARK = RESERVED.encode()
_META_SERVER_RAW = b'"' + META_SERVER.encode() + b'":'


def adapt(body: bytes, method: str, era: str, version: str, back: str, server_info: bytes) -> bytes:
    """The result for a front of `era` (and legacy `version`). `server_info`: raw JSON, stamped on modern results.

    Raises `InternalError` when the back's result is no object, `InvalidRequest` when it asks for input that this
    front cannot give.
    """
    if era == LEGACY:
        if back == LEGACY and _harmless(body) and version >= "2025-06-18":
            return body
        return _to_legacy(_open(body), method, version)
    return _to_modern(_open(body), method, back, server_info)


def _harmless(body: bytes) -> bool:
    """True when nothing in a legacy back's result can need a change (an escape could hide a reserved key)."""
    return _MARK not in body and b"\\u" not in body and body[:1] == b"{"


def _to_modern(result: dict[str, Raw], method: str, back: str, server_info: bytes) -> bytes:
    kind = result.get("resultType")
    if kind is None:
        result["resultType"] = _COMPLETE
    if method in CACHEABLE and (kind is None or bytes(kind) == b'"complete"'):
        result.setdefault("ttlMs", _ZERO)
        result.setdefault("cacheScope", _PRIVATE)
    meta = _own_meta(result)
    stamp = _META_SERVER_RAW + server_info
    inner = _encode(meta)[1:-1] if meta else b""
    result["_meta"] = Raw(b"{%b,%b}" % (stamp, inner) if inner else b"{%b}" % stamp)
    if back == LEGACY and method == "tools/list" and "tools" in result:
        result["tools"] = Raw(_encode([modern_tool(tool) for tool in _list(result["tools"])]))
    return _encode(result)


def _to_legacy(result: dict[str, Raw], method: str, version: str) -> bytes:
    kind = result.get("resultType")
    if kind is not None:
        if bytes(kind) != b'"complete"':
            said = bytes(kind).decode(errors="replace")
            raise InvalidRequest(f"the server answered {said}: this call needs a client of MCP 2026-07-28")
        for key in ("resultType", "ttlMs", "cacheScope"):
            result.pop(key, None)
    meta = _own_meta(result)
    if meta:
        result["_meta"] = Raw(_encode(meta))
    else:
        result.pop("_meta", None)
    if method == "tools/list" and "tools" in result:
        result["tools"] = Raw(_encode([legacy_tool(tool) for tool in _list(result["tools"])]))
    elif method == "tools/call":
        structured = result.get("structuredContent")
        if structured is not None and bytes(structured)[:1] != b"{":
            del result["structuredContent"]
        if version < "2025-06-18" and "content" in result:
            result["content"] = Raw(_encode([_old_content(item, version) for item in _list(result["content"])]))
    return _encode(result)


def modern_tool(tool: Raw) -> Raw:
    """A tool as modern clients may see it: without the `execution` of 2025-11-25 tasks."""
    raw = bytes(tool)
    if b"execution" not in raw:
        return tool
    fields = _open(raw)
    fields.pop("execution", None)
    return Raw(_encode(fields))


def legacy_tool(tool: Raw) -> Raw:
    """A tool as legacy clients may see it: an `outputSchema` only if it describes an object."""
    raw = bytes(tool)
    if b"outputSchema" not in raw:
        return tool
    fields = _open(raw)
    schema = fields.get("outputSchema")
    if schema is None:
        return tool
    described: Any = msgspec.json.decode(schema)
    if isinstance(described, dict) and described.get("type") == "object":
        return tool
    del fields["outputSchema"]
    return Raw(_encode(fields))


def _old_content(item: Raw, version: str) -> Raw:
    """One content block for a client from before resource links (and audio): as text."""
    raw = bytes(item)
    if b"resource_link" not in raw and b"audio" not in raw:
        return item
    block: Any = msgspec.json.decode(raw)
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "resource_link":
        text = " ".join(str(block[key]) for key in ("name", "uri", "description") if block.get(key))
    elif kind == "audio" and version < "2025-03-26":
        text = f"[audio, {block.get('mimeType', 'unknown type')}: this client's MCP version cannot take it]"
    else:
        return item
    return Raw(_encode({"type": "text", "text": text}))


def _own_meta(result: dict[str, Raw]) -> dict[str, Raw]:
    """The result's `_meta` without reserved keys."""
    raw = result.get("_meta")
    if raw is None or bytes(raw)[:1] != b"{":
        return {}
    return {key: value for key, value in _open(bytes(raw)).items() if not key.startswith(RESERVED)}


def _open(body: bytes) -> dict[str, Raw]:
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InternalError(f"the server's result is no JSON object: {exc}") from None


def _list(raw: Raw) -> list[Raw]:
    try:
        return _decode_list(raw)
    except msgspec.DecodeError as exc:
        raise InternalError(f"the server's result holds no list where one belongs: {exc}") from None
