"""Lines from a server's stdout: cutting the stream and reading each line no further than routing needs.

Pure: bytes in, messages out. Whatever is not one JSON-RPC message (a banner, a batch, broken UTF-8, a line over the
limit) comes out as something that the caller can count and drop. Used by `central_mcp.router`.
"""

import re
from typing import Any

import msgspec

MAX_LINE = 16 << 20
"""Bytes. The largest message that the front door accepts as well."""
_KEEP = 256
_ID = re.compile(rb'"id"\s*:\s*(\d{1,18})\s*[,}]')
_NOTHING = msgspec.Raw()


class Message(msgspec.Struct):
    """One JSON-RPC message, its parts raw. A response has `result` or `error`; a request `id` and `method`."""

    id: int | str | float | None = None
    method: str = ""
    params: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class Oversize(msgspec.Struct):
    """A line over `MAX_LINE`, thrown away; `id` is that of the answer it was, as far as its ends tell."""

    size: int
    id: int | None


class NotAMessage(ValueError):
    """The line is no JSON-RPC message; `str()` says why."""


_decode = msgspec.json.Decoder(Message).decode


def parse(line: bytes) -> Message:
    """Read one line. Raises `NotAMessage`."""
    try:
        message = _decode(line)
        if not line.isascii():
            line.decode()  # raw parts travel on to clients, who must get UTF-8
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise NotAMessage(str(exc)) from None
    return message


class Lines:
    """Cuts a byte stream at newlines. Memory stays below `limit` plus one read, whatever comes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._dropped: bytes | None = None  # head of the line that is being thrown away

    def feed(self, data: bytes) -> list[bytes | Oversize]:
        """The lines that are whole now, without their newline."""
        if b"\n" not in data:
            self._keep(data)
            return []
        first, *lines = data.split(b"\n")
        found: list[bytes | Oversize] = []
        self._keep(first)
        found.append(self._finish())
        rest = lines.pop()
        found += lines
        if rest:
            self._keep(rest)
        return found

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._dropped is None:
            self._parts.append(data)
            if self._size > self._limit:
                self._dropped = b"".join(self._parts)[:_KEEP]
                self._parts = [data[-_KEEP:]]
        else:
            self._parts = [(self._parts[0] + data)[-_KEEP:]]

    def _finish(self) -> bytes | Oversize:
        parts, self._parts = self._parts, []
        size, self._size = self._size, 0
        head, self._dropped = self._dropped, None
        line = parts[0] if len(parts) == 1 else b"".join(parts)
        if head is None:
            return line
        return Oversize(size, _id_of(head, line))


def _id_of(head: bytes, tail: bytes) -> int | None:
    """The SDK for Python writes the id first, the one for TypeScript last."""
    first = _ID.search(head[:80])
    if first:
        return int(first[1])
    last = [*_ID.finditer(tail[-80:])]
    return int(last[-1][1]) if last else None


def plain(value: Any) -> str:
    """`value` as JSON text for a log or an error, cut short."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else text[:197] + "..."
