"""Talking to a server in its era: request lines from the neutral form, the handshakes, what their answers mean.

Pure. The neutral form of `params` is what a frame carries: no version, capabilities, client, log level or progress
token in `_meta`; those are in the frame's head and are stamped here for a modern server (MCP 2026-07-28, _meta on
requests), left out for a legacy one. Used by `central_mcp.router`.
"""

from typing import Any

import msgspec

from .eras import LEGACY_VERSIONS, MODERN_VERSIONS, NEWEST_LEGACY, RESERVED
from .errors import InvalidParams
from .lines import Message, plain

MODERN = MODERN_VERSIONS[-1]
CLIENT: bytes = b'{"name":"central-mcp","version":"0.1.0"}'
"""Who we say we are where no caller is behind a request."""
VERSION_REFUSED = -32022
METHOD_NOT_FOUND = -32601

_KEY = b'"%b' % RESERVED.encode()
_METHODS = {
    name: msgspec.json.encode(name)
    for name in (
        "tools/call", "tools/list", "prompts/list", "prompts/get", "resources/list", "resources/read",
        "resources/templates/list", "completion/complete",
    )
}  # fmt: skip
_raw_dict = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


def meta(
    *,
    modern: bool,
    caps: bytes = b"",
    client: bytes = b"",
    log_level: str = "",
    token: int | None = None,
) -> bytes:
    """The keys that a request's `_meta` must have for this server, as the inside of a JSON object; may be empty."""
    parts = []
    if modern:
        parts.append(
            b'%bprotocolVersion":"%b",%bclientCapabilities":%b,%bclientInfo":%b'
            % (_KEY, MODERN.encode(), _KEY, caps or b"{}", _KEY, client or CLIENT)
        )
        if log_level:
            parts.append(b'%blogLevel":%b' % (_KEY, _encode(log_level)))
    if token is not None:
        parts.append(b'"progressToken":%d' % token)
    return b",".join(parts)


def request(call_id: int, method: str, params: bytes, stamp: bytes = b"") -> bytes:
    """One request as a line. `params`: raw JSON object; `stamp`: from `meta`. Raises `InvalidParams`."""
    if stamp:
        params = _stamped(params, stamp)
    if b"\n" in params or b"\r" in params:  # only as white space: within strings they are escaped
        params = params.replace(b"\n", b" ").replace(b"\r", b" ")
    name = _METHODS.get(method) or _encode(method)
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}\n' % (call_id, name, params or b"{}")


def _stamped(params: bytes, stamp: bytes) -> bytes:
    """`params` with `stamp` in its `_meta`. Ours comes last: of doubled keys parsers take the last."""
    if b'"_meta"' in params:
        fields = _raw_dict(params)
        old = bytes(fields.pop("_meta", b"")).strip()
        if old[:1] == b"{" and old[1:-1].strip():
            stamp = old[1:-1] + b"," + stamp
        params = _encode(fields)
    params = params.strip()
    if not params:
        return b'{"_meta":{%b}}' % stamp
    if params[:1] != b"{" or params[-1:] != b"}":
        raise InvalidParams("params must be a JSON object")
    comma = b"," if params[1:-1].strip() else b""
    return b'%b%b"_meta":{%b}}' % (params[:-1], comma, stamp)


def notification(method: str, params: bytes = b"") -> bytes:
    if params:
        return b'{"jsonrpc":"2.0","method":%b,"params":%b}\n' % (_encode(method), params)
    return b'{"jsonrpc":"2.0","method":%b}\n' % _encode(method)


def cancelled(call_id: int, reason: str) -> bytes:
    params = b'{"requestId":%d,"reason":%b}' % (call_id, _encode(reason))
    return notification("notifications/cancelled", params)


def initialize(call_id: int) -> bytes:
    """Declares no capabilities: nothing that a legacy server asks can be relayed to the right caller yet."""
    params = b'{"protocolVersion":"%b","capabilities":{},"clientInfo":%b}' % (NEWEST_LEGACY.encode(), CLIENT)
    return request(call_id, "initialize", params)


def initialized() -> bytes:
    return notification("notifications/initialized")


def discover(call_id: int) -> bytes:
    return request(call_id, "server/discover", b"{}", meta(modern=True))


def listen(call_id: int, capabilities: dict[str, Any]) -> bytes | None:
    """A subscription to every list_changed that a modern server offers; None if it offers none."""
    wanted = [
        b'"%bListChanged":true' % kind.encode()
        for kind in ("tools", "prompts", "resources")
        if isinstance(capabilities.get(kind), dict) and capabilities[kind].get("listChanged") is True
    ]
    if not wanted:
        return None
    params = b'{"notifications":{%b}}' % b",".join(wanted)
    return request(call_id, "subscriptions/listen", params, meta(modern=True))


def answer(message: Message) -> bytes:
    """Our answer to a request of the server: `ping` is a pong, the rest is refused, since we declared nothing."""
    call_id = _encode(message.id)
    if message.method == "ping":
        return b'{"jsonrpc":"2.0","id":%b,"result":{}}\n' % call_id
    error = {"code": METHOD_NOT_FOUND, "message": f"{message.method}: not declared by this client"}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (call_id, _encode(error))


class Hello(msgspec.Struct):
    """What a server said of itself in its handshake."""

    capabilities: dict[str, Any] = {}
    serverInfo: dict[str, Any] = {}
    instructions: str | None = None
    protocolVersion: str = ""
    supportedVersions: list[str] = []
    meta: dict[str, Any] = msgspec.field(name="_meta", default_factory=dict)


class Refused(ValueError):
    """The server answered the handshake with something that is no agreement; `str()` says what."""


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Any = None


_hello = msgspec.json.Decoder(Hello).decode
_error = msgspec.json.Decoder(_Error).decode


def read_initialize(message: Message) -> Hello:
    """The answer to `initialize`. Raises `Refused`."""
    hello = _read_hello(message, "initialize")
    if hello.protocolVersion not in LEGACY_VERSIONS:
        version = plain(hello.protocolVersion)
        raise Refused(f"answered initialize with protocol version {version}; we speak {NEWEST_LEGACY} and older")
    return hello


def read_discover(message: Message) -> Hello | None:
    """The answer to `server/discover`: a modern server's, or None when the server is of the legacy era.

    Any error but one that offers our version means legacy: SDKs answer -32602, -32601, -32600 (MCP, versioning).
    """
    try:
        hello = _read_hello(message, "server/discover")
    except Refused:
        return Hello() if _offers_modern(message) else None
    if MODERN not in hello.supportedVersions:
        return None
    hello.serverInfo = hello.meta.get("io.modelcontextprotocol/serverInfo") or hello.serverInfo
    return hello


def _offers_modern(message: Message) -> bool:
    try:
        error = _error(message.error)
    except msgspec.DecodeError:
        return False
    supported = error.data.get("supported") if isinstance(error.data, dict) else None
    return error.code == VERSION_REFUSED and isinstance(supported, list) and MODERN in supported


def _read_hello(message: Message, what: str) -> Hello:
    if len(bytes(message.error)):
        raise Refused(f"refused {what}: {plain(bytes(message.error))}")
    try:
        return _hello(message.result)
    except msgspec.DecodeError as exc:
        raise Refused(f"answered {what} with a result that is none: {exc}") from None


def split_progress(params: msgspec.Raw) -> tuple[int | str | None, bytes]:
    """(token, the other params) of a `notifications/progress`; the token is None when there is no usable one."""
    try:
        fields = _raw_dict(params)
        token = msgspec.json.decode(fields.pop("progressToken", b"null"), type=int | str | None)
    except msgspec.DecodeError:
        return None, b""
    return token, _encode(fields)


class _StrictError(msgspec.Struct):
    code: int
    message: str


_strict_error = msgspec.json.Decoder(_StrictError).decode


def checked_error(body: bytes) -> bytes:
    """`body` if it is a JSON-RPC error object, else empty."""
    try:
        _strict_error(body)
    except msgspec.DecodeError:
        return b""
    return body
