"""MCP over WebSocket: picows on the connections that uvicorn hands over. One message a text frame, stdio semantics.

Owns handshake, framing, limits and backpressure; a `Conversation` does the rest. Rules of the road (see
docs/design.md, the hot path): copy a frame's bytes inside the callback, cap whole messages, no compression, stop
reading from a client that does not read or has `MAX_OPEN` calls under way.
"""

import asyncio
import logging
import re
import secrets
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict
from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # public, missing in its stub

from central_mcp.protocol.errors import InvalidRequest, ProtocolError
from central_mcp.protocol.messages import NO_ID, error_message

from .access import Caller
from .conversation import Conversation
from .endpoints import server_at
from .front import Front

MAX_MESSAGE = 16 << 20
"""Bytes of one message, all its frames together."""
MAX_FRAME = 24 << 20
"""Bytes of one frame that is read at all: a message over `MAX_MESSAGE` but within this gets its error by name."""
MAX_OPEN = 32
"""Calls under way of one connection before it is read no further; read again below half of it."""
MAX_FRAGMENTS = 4096
MAX_UNSENT = 64 << 20
"""Bytes that may wait for one client that does not read; beyond it the connection is dropped."""
PING_S = 20
"""An idle connection is pinged, so that dead ones are found. Twice this without an answer ends it."""
REVOKED = 4401
_TEXT, _CONTINUATION, _CLOSE, _BINARY = WSMsgType.TEXT, WSMsgType.CONTINUATION, WSMsgType.CLOSE, WSMsgType.BINARY
_CONNECTION = re.compile(rb"(?mi)^connection:[^\r\n]*")

_log = logging.getLogger("central_mcp.picows")
_log.setLevel(logging.CRITICAL)  # it speaks of every connection; what matters is counted and logged by us


class Socket(WSListener):
    """One connected client: the sink of its conversation."""

    def __init__(self, front: Front, caller: Caller, server: str) -> None:
        session = f"{caller.client}#{secrets.token_hex(8)}"
        self._front = front
        self._conversation = Conversation(front, caller, server, self, session=session)
        self._open = self._conversation.open
        self._parts: list[bytes] = []
        self._size = 0
        self._fragmented = False
        self._reading = True
        self._writable = True
        self._closing = False
        self._clean = False
        self._transport: WSTransport | None = None

    # picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._front.conversations.add(self._conversation)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._closing and kind != _CLOSE:
            return
        if kind == _TEXT and frame.fin and not self._fragmented:
            if frame.rsv1:
                self._close(WSCloseCode.PROTOCOL_ERROR, "compression was not agreed on")
            else:
                self._message(frame.get_payload_as_bytes())
        elif kind in (_TEXT, _CONTINUATION):
            self._fragment(kind, frame)
        elif kind == _CLOSE:
            self._clean = frame.get_close_code() == WSCloseCode.OK
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind == _BINARY:
            self._close(WSCloseCode.UNSUPPORTED_DATA, "MCP messages are text frames")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        conversation = self._conversation
        conversation.end(cancel=self._clean)
        self._front.link.end(conversation.principal, conversation.session)
        self._transport = None

    def pause_writing(self) -> None:
        self._writable = False
        self._pause()

    def resume_writing(self) -> None:
        self._writable = True
        self._resume()

    # the conversation's sink

    def answer(self, message: bytes, code: int) -> None:
        self.note(message)

    def note(self, message: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        transport.send(_TEXT, message)
        if not self._writable and transport.underlying_transport.get_write_buffer_size() > MAX_UNSENT:
            transport.underlying_transport.abort()

    def settled(self) -> None:
        if self._closing:
            if not self._open:
                self._say_goodbye()
        elif not self._reading:
            self._resume()

    def revoke(self) -> None:
        self._close(REVOKED, "this key has been revoked")

    # leaving

    def leave(self) -> None:
        """We are going: answer what is under way, then close so that the client dials again."""
        if not self._closing:
            self._conversation.finish_listens()
            self._closing = True
            self._pause()
            self.settled()

    def _say_goodbye(self) -> None:
        transport = self._transport
        if transport is not None:
            transport.send_close(WSCloseCode.SERVICE_RESTART, "the coordinator restarts: connect again")
            transport.disconnect()

    def _close(self, code: WSCloseCode | int, reason: str) -> None:
        """Close for a reason, and read on for a moment: unread bytes would turn the close frame into a reset."""
        transport = self._transport
        if transport is None or self._closing:
            return
        self._closing = True
        self._parts.clear()
        transport.send_close(code, reason)  # type: ignore[arg-type]  # picows takes any number, its stub not
        asyncio.get_running_loop().call_later(1.0, transport.disconnect)

    # messages

    def _message(self, data: bytes) -> None:
        if len(data) > MAX_MESSAGE:
            self._too_big()
            return
        self._conversation.take(data)
        if len(self._open) >= MAX_OPEN:
            self._pause()

    def _fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind == _TEXT) == self._fragmented or frame.rsv1:
            self._close(WSCloseCode.PROTOCOL_ERROR, "frames out of order")
            return
        self._fragmented = not frame.fin
        self._size += frame.payload_size
        if self._size > MAX_MESSAGE or len(self._parts) >= MAX_FRAGMENTS:
            self._too_big()
            return
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._message(data)

    def _too_big(self) -> None:
        error = InvalidRequest(
            f"the message is too large: at most {MAX_MESSAGE} bytes in at most {MAX_FRAGMENTS} frames are taken"
        )
        self.note(error_message(NO_ID, error.body()))
        self._close(WSCloseCode.MESSAGE_TOO_BIG, f"messages may have {MAX_MESSAGE} bytes")

    def _pause(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.underlying_transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._writable and not self._closing and len(self._open) < MAX_OPEN // 2:
            self._reading = True
            if self._transport is not None and not self._transport.underlying_transport.is_closing():
                self._transport.underlying_transport.resume_reading()


class SocketProtocol(WSProtocol):  # type: ignore[misc]  # a Cython class
    """What uvicorn makes for an upgrade to WebSocket: `Config(ws=partial(SocketProtocol, front=...))`."""

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, *, front: Front, aliases: dict[int, str]
    ) -> None:
        super().__init__(
            None, None, False, self._welcome, _log, True, 10, True, PING_S, PING_S,
            WSAutoPingStrategy.PING_WHEN_IDLE, True, MAX_FRAME, None, 4096,
        )  # fmt: skip
        self._connections = server_state.connections
        self._front = front
        self._aliases = aliases
        self._port = 0
        self._socket: Socket | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._port = transport.get_extra_info("sockname")[1]
        self._connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called once, by uvicorn, with the handshake that it has read."""
        # picows wants exactly "Upgrade"; Firefox says "keep-alive, Upgrade"
        rest = memoryview(_CONNECTION.sub(b"Connection: Upgrade", data, count=1))
        while rest:
            buffer = self.get_buffer(-1)
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            self.buffer_updated(count)
            rest = rest[count:]

    def shutdown(self) -> None:
        """uvicorn's word for: we are going."""
        if self._socket is not None:
            self._socket.leave()
        elif self.transport is not None:
            self.transport.disconnect()

    def _welcome(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        front, headers = self._front, request.headers
        try:
            server, caller = self._admit(request)
        except ProtocolError as exc:
            front.metrics.refused += 1
            more = {"WWW-Authenticate": "Bearer"} if exc.status == HTTPStatus.UNAUTHORIZED else {}
            return _refusal(exc.status, error_message(NO_ID, exc.body()), more)
        if server is None:
            return _refusal(HTTPStatus.NOT_FOUND, b'{"error":"nothing here: try /mcp or /s/<server>/mcp"}', {})
        offered = [name.strip() for value in headers.getall("sec-websocket-protocol", ()) for name in value.split(",")]
        chosen = {"Sec-WebSocket-Protocol": "mcp"} if "mcp" in offered else {}
        self._socket = Socket(front, caller, server)
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(extra_headers=chosen), self._socket)

    def _admit(self, request: WSUpgradeRequest) -> tuple[str | None, Caller]:
        """Raises `Forbidden`, `Unauthorized`."""
        headers: CIMultiDict[str] = request.headers
        access = self._front.access
        access.check_way(headers.getall("host", []), headers.getall("origin", []))
        caller = access.identify(
            headers.getall("authorization", []),
            headers.getall("x-api-key", []),
            headers.get("x-central-project", ""),
            headers.get("x-central-client", ""),
        )
        path = request.path.partition(b"?")[0].decode("latin-1")
        server = server_at(path, self._port, self._aliases)
        if server and server not in self._front.directory.entries:
            server = None
        return server, caller


def _refusal(status: int, body: bytes, headers: dict[str, str]) -> WSUpgradeResponseWithListener:
    headers = {"Content-Type": "application/json", **headers}
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, body, headers), None)
