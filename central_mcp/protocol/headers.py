"""The HTTP headers that mirror a modern request's body, and their comparison with it.

Pure. Source: MCP 2026-07-28, Streamable HTTP, standard headers and custom headers (`Mcp-Name`'s encoding).
"""

import base64
import binascii
from collections.abc import Mapping

from .errors import HeaderMismatch

VERSION = "mcp-protocol-version"
METHOD = "mcp-method"
NAME = "mcp-name"
SESSION = "mcp-session-id"
_BEARER_OF_NAME = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_OPEN, _CLOSE = "=?base64?", "?="


def name_field(method: str) -> str:
    """Which field of the params `Mcp-Name` mirrors; empty for methods without one."""
    return _BEARER_OF_NAME.get(method, "")


def decode_value(value: str) -> str | None:
    """A header value in clear; None when its base64 form is broken (then it must match nothing)."""
    if not (value.startswith(_OPEN) and value.endswith(_CLOSE)):
        return value
    payload = value[len(_OPEN) : -len(_CLOSE)]
    try:
        decoded = base64.b64decode(payload, validate=True)
        if base64.b64encode(decoded).decode() != payload:
            return None
        return decoded.decode()
    except (binascii.Error, ValueError):
        return None


def encode_value(value: str) -> str:
    """`value` as a header may carry it."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not (value.startswith(_OPEN) and value.endswith(_CLOSE)):
        return value
    return f"{_OPEN}{base64.b64encode(value.encode()).decode()}{_CLOSE}"


def check(headers: Mapping[str, str], method: str, version: str, name: str | None) -> None:
    """Headers against body; `name` is the params' name or uri, None when it has none. Raises `HeaderMismatch`."""
    if headers.get(VERSION) != version:
        raise HeaderMismatch(f"the header MCP-Protocol-Version is not the request's protocol version {version}")
    if headers.get(METHOD) != method:
        raise HeaderMismatch(f"the header Mcp-Method is not the request's method {method}")
    if name is not None and decode_value(headers.get(NAME, "")) != name:
        raise HeaderMismatch(f"the header Mcp-Name is not the request's {name_field(method)}")
