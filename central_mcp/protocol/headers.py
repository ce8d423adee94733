"""The HTTP headers that mirror a modern request's body, and their comparison with it.

Pure. Source: MCP 2026-07-28, Streamable HTTP, standard headers and custom headers (`Mcp-Name`'s encoding).
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from .errors import HeaderMismatch

VERSION = "mcp-protocol-version"
METHOD = "mcp-method"
NAME = "mcp-name"
SESSION = "mcp-session-id"
_BEARER_OF_NAME = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
PARAMETER = "mcp-param-"
ANNOTATION = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL = re.compile(r"(-?[0-9]+)(?:\.0+)?")
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


def check(header: Callable[[str, str], str], method: str, version: str, name: str | None) -> None:
    """Headers against body. Raises `HeaderMismatch`.

    `header(name, default)` reads one; `name` is the params' name or uri, None when it has none.
    """
    if header(VERSION, "") != version:
        raise HeaderMismatch(f"the header MCP-Protocol-Version is not the request's protocol version {version}")
    if header(METHOD, "") != method:
        raise HeaderMismatch(f"the header Mcp-Method is not the request's method {method}")
    if name is not None and decode_value(header(NAME, "")) != name:
        raise HeaderMismatch(f"the header Mcp-Name is not the request's {name_field(method)}")


class Mirrored(NamedTuple):
    """A parameter of a tool that HTTP clients mirror into a header."""

    header: str
    """Lower case, with `mcp-param-`."""
    path: tuple[str, ...]
    """Keys from the arguments down to the value."""
    kind: str
    """JSON Schema's type: string, integer or boolean."""


def mirrored(schema: Any) -> tuple[Mirrored, ...]:
    """What `inputSchema` declares by `x-mcp-header`. One bad annotation makes clients drop the tool: then nothing."""
    found = list(_annotated(schema, ()))
    names = [entry.header for entry in found]
    good = all(entry.path and entry.kind in ("string", "integer", "boolean") for entry in found)
    return tuple(found) if good and len(set(names)) == len(names) else ()


def check_parameters(
    declared: tuple[Mirrored, ...], arguments: bytes | msgspec.Raw | None, lines: Callable[[str], list[str]]
) -> None:
    """Every declared header against its argument; both absent is fine. Raises `HeaderMismatch`."""
    given: Any = msgspec.json.decode(arguments) if arguments else {}
    for header, path, kind in declared:
        value = given
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        sent = lines(header)
        if value is None and not sent:
            continue
        if len(sent) != 1 or not _same(decode_value(sent[0]), value, kind):
            raise HeaderMismatch(f"the header {header} is not the argument {'.'.join(path)}")


def _annotated(schema: Any, path: tuple[str, ...]) -> Iterator[Mirrored]:
    if not isinstance(schema, dict):
        return
    token = schema.get(ANNOTATION)
    if token is not None:
        good = isinstance(token, str) and _TOKEN.fullmatch(token) and isinstance(schema.get("type"), str)
        yield Mirrored(f"{PARAMETER}{token}".lower(), path, schema["type"] if good else "")
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, inner in properties.items():
            yield from _annotated(inner, (*path, name))


def _same(sent: str | None, value: Any, kind: str) -> bool:
    if sent is None or value is None:
        return False
    if isinstance(value, bool):
        return sent == ("true" if value else "false")
    if kind == "integer" and isinstance(value, int | float) and value == int(value):
        number = _DECIMAL.fullmatch(sent)
        return number is not None and len(sent) < 1000 and int(number.group(1)) == int(value)
    return isinstance(value, str | int | float) and sent == str(value)
