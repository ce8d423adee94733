"""What came of the calls to one release: counters since the start of the router, the last outcomes, how long they took.

In memory only: an error state that survives a restart would be a lie. Read by CONTROL status.
"""

import math
import time
from collections import deque
from typing import Any

import msgspec

from central_mcp.protocol.frames import Kind

from .call import Call

SAMPLES = 512
CATCH_UP_S = 5.0
"""A process that is ready gets at once what has waited for it; how long calls take so soon says nothing about it."""
_CALLERS_FAULT = frozenset((-32600, -32601, -32602, -32002, -32020, -32021, -32022, -32042))
"""Codes that say nothing against the server."""
_LOOK = 64 << 10
"""Bytes. Larger results are not searched for `isError`."""


class _Error(msgspec.Struct):
    code: int
    message: str


_decode_error = msgspec.json.Decoder(_Error).decode
_monotonic = time.monotonic


class Outcomes:
    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        """What speaks against the server: its errors but those that are the caller's fault, and ours about it."""
        self.tool_errors = 0
        """Results with `isError: true`: the tool's own word that it failed."""
        self.last_ok = 0.0
        self.last_error: tuple[float, str] | None = None
        self._seconds: deque[float] = deque(maxlen=SAMPLES)

    def count(self, call: Call, kind: Kind, body: bytes) -> None:
        """The server has answered."""
        now = _monotonic()
        self.calls += 1
        if call.back is None or call.written - call.back.ready > CATCH_UP_S:
            self._seconds.append(now - call.written)  # a cold start is no slow answer
        if kind == Kind.RESULT:
            self.last_ok = now
            if len(body) < _LOOK and (b'"isError":true' in body or b'"isError": true' in body):
                self.tool_errors += 1
            return
        error = _decode_error(body)
        if error.code not in _CALLERS_FAULT:
            self.errors += 1
            self.last_error = (now, error.message)

    def failed(self, call: Call, message: str) -> None:
        """The router answered in the server's place."""
        self.calls += 1
        self.errors += 1
        self.last_error = (_monotonic(), message)

    def p95_ms(self) -> float | None:
        if not self._seconds:
            return None
        ordered = sorted(self._seconds)
        return round(ordered[math.ceil(0.95 * len(ordered)) - 1] * 1000, 3)

    def report(self) -> dict[str, Any]:
        """`last_ok` and `last_error_age` are ages in seconds, None when there was none; `last_error` is its text."""
        now = _monotonic()
        at, error = self.last_error or (0.0, "")
        return {
            "calls": self.calls,
            "errors": self.errors,
            "tool_errors": self.tool_errors,
            "last_ok": round(now - self.last_ok, 3) if self.last_ok else None,
            "last_error": error,
            "last_error_age": round(now - at, 3) if error else None,
            "p95_ms": self.p95_ms(),
        }
