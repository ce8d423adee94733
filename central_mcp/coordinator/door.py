"""uvicorn's HTTP protocol with patience that ends: no client holds a connection by never finishing its headers.

Given to uvicorn as `Config(http=Door)`. Bodies have their own limits in http.py.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S = 10.0
"""Seconds from a connection's (or a request's) first byte to the end of its headers."""
MAX_PENDING = 64 << 10
"""Bytes that may come without the headers ending."""


class Door(HttpToolsProtocol):
    """One connection until it becomes a WebSocket or ends."""

    _timer: asyncio.TimerHandle | None = None
    _pending = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._pending += len(data)
            if self._pending > MAX_PENDING and not self.transport.is_closing():
                self.send_400_response("Request header fields too large.")

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._came()
        super().on_headers_complete()

    def _wait(self) -> None:
        if self._timer is None:
            self._pending = 0
            self._timer = self.loop.call_later(HEADERS_S, self._too_slow)

    def _came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.close()
