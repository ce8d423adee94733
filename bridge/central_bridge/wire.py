"""One WebSocket connection to the coordinator: `websockets`' sans-I/O protocol on an asyncio transport.

Text frames, one JSON-RPC message each, subprotocol `mcp`, no compression. `dial` makes one or raises `DialError`.
Called by `bridge` and `check`; knows nothing of MCP.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from . import __version__, trouble
from .answers import Trouble
from .config import Settings

DIAL_S = 10.0
"""For name, connection, TLS and handshake together."""


class DialError(Exception):
    """No connection could be made; `trouble` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.cause)
        self.trouble = trouble


@dataclass(frozen=True)
class Loss:
    """How an open connection ended."""

    why: str
    code: int | None = None

    @property
    def at_once(self) -> bool:
        """The peer went away on purpose and another is expected to be there."""
        return self.code in (1001, 1012)


class Listener(Protocol):
    """Who owns the connection."""

    def wire_frames(self, frames: list[bytes]) -> None: ...
    def wire_room(self, room: bool) -> None: ...
    def wire_lost(self, wire: "Wire", loss: Loss) -> None: ...


class Wire(asyncio.Protocol):
    """See the module. `opened` is done when the handshake is."""

    def __init__(self, settings: Settings, key: str, limit: int, listener: Listener) -> None:
        self._settings = settings
        self._key = key
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.heard = self._loop.time()
        self.paused = False
        self._ws = ClientProtocol(parse_uri(settings.url), subprotocols=["mcp"], max_size=limit)  # type: ignore[list-item]
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._why: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        request = self._ws.connect()
        request.headers["Authorization"] = f"Bearer {self._key}"
        request.headers["X-Central-Project"] = self._settings.project
        request.headers["X-Central-Client"] = self._settings.client
        request.headers["User-Agent"] = f"central-mcp-bridge/{__version__}"
        self._ws.send_request(request)
        self._write()

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self._ws.receive_data(data)
        self._events()
        self._write()
        if self._ws.close_expected() and self._transport is not None:
            self._loop.call_later(1.0, self._transport.abort)

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._events()
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ws.receive_eof()
        if not self.opened.done():
            why = self._ws.handshake_exc or exc or ConnectionResetError("closed before it answered")
            self.opened.set_exception(DialError(self._refusal(why)))
        elif not self.closed.done():
            self._listener.wire_lost(self, self._loss(exc))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._listener.wire_room(False)

    def resume_writing(self) -> None:
        self._listener.wire_room(True)

    def send(self, messages: list[bytes]) -> None:
        """Write messages, one text frame each."""
        if self._ws.state is State.OPEN:
            for message in messages:
                self._ws.send_text(message)
            self._write()

    def ping(self) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_ping(b"central")
            self._write()

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def reading(self, on: bool) -> None:
        """Stop or go on taking frames."""
        self.paused = not on
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading() if on else self._transport.pause_reading()

    def drop(self, why: str) -> None:
        """Give the connection up: the peer is dead."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    async def close(self, timeout_s: float) -> None:
        """Close cleanly (1000), waiting at most `timeout_s` for the peer."""
        if self._ws.state is State.OPEN:
            self._ws.send_close(1000)
            self._write()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.closed), timeout_s)
        if self._transport is not None:
            self._transport.abort()

    def _events(self) -> None:
        frames: list[bytes] = []
        for event in self._ws.events_received():
            if not isinstance(event, Frame):
                if self._ws.handshake_exc is None and not self.opened.done():
                    self.opened.set_result(None)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                data = bytes(event.data)
                if self._parts or not event.fin:
                    self._parts.append(data)
                    if not event.fin:
                        continue
                    data = b"".join(self._parts)
                    self._parts.clear()
                frames.append(data)
        if frames:
            self._listener.wire_frames(frames)

    def _write(self) -> None:
        if self._transport is None:
            return
        for data in self._ws.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                with contextlib.suppress(OSError, RuntimeError):
                    self._transport.write_eof()
            else:  # TLS cannot half-close
                self._transport.close()

    def _refusal(self, error: BaseException) -> Trouble:
        if isinstance(error, InvalidStatus):
            response = error.response
            path = parse_uri(self._settings.url).resource_name
            return trouble.from_status(
                response.status_code,
                bytes(response.body or b""),
                self._settings.project,
                self._settings.key_source,
                path,
            )
        return trouble.from_exception(error, self._settings.host)

    def _loss(self, exc: Exception | None) -> Loss:
        if self._why is not None:
            return Loss(self._why)
        received, sent = self._ws.close_rcvd, self._ws.close_sent
        if received is not None and self._ws.close_rcvd_then_sent:
            text = f", {received.reason}" if received.reason else ""
            return Loss(f"closed by central-mcp with code {received.code}{text}", received.code)
        if sent is not None and sent.code != 1000:
            return Loss(f"it sent what cannot be taken: {sent.reason or sent.code}")
        return Loss(str(exc) if exc else "it was cut")


async def dial(settings: Settings, key: str, limit: int, listener: Listener) -> Wire:
    """Open a connection.

    :raises DialError: it could not be made within `DIAL_S` seconds; never anything else but cancellation.
    """
    loop = asyncio.get_running_loop()
    uri = parse_uri(settings.url)
    wire: Wire | None = None
    try:
        async with asyncio.timeout(DIAL_S):
            _, protocol = await loop.create_connection(
                lambda: Wire(settings, key, limit, listener),
                uri.host,
                uri.port,
                ssl=_tls(settings) if uri.secure else None,
                happy_eyeballs_delay=0.25,
            )
            wire = protocol
            await asyncio.shield(wire.opened)
            return wire
    except DialError:
        raise
    except (OSError, TimeoutError, ValueError) as error:  # ValueError: a host that is no host
        if wire is not None:
            wire.opened.cancel()
            wire.drop("the handshake took too long")
        raise DialError(trouble.from_exception(error, settings.host)) from error


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        hint = "CENTRAL_MCP_CA must be a readable file with PEM certificates."
        raise DialError(Trouble(f"CENTRAL_MCP_CA {settings.ca} cannot be used ({error})", hint, final=True)) from error
