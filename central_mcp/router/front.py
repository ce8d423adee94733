"""The server end of one frames link: a coordinator or the engine.

Owns the link's open calls and its writes. Checks who connects (SO_PEERCRED) and that the first frame is a HELLO of our
version. Decides nothing about calls: that is `Router`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Protocol, cast

import structlog

from central_mcp.protocol.errors import InternalError, InvalidRequest, ProtocolError
from central_mcp.protocol.frames import MAX_FRAME, VERSION, Decoder, FrameError, Head, Kind, encode

from .call import Call

CREDIT = 4096
"""Calls that one link may have open."""
HELLO_S = 5.0
WRITE_HIGH = 8 << 20
"""Bytes that a link may leave unread before the servers of its calls are held."""
STUCK_S = 5.0
"""A link that reads nothing for so long is closed: it holds processes that others use too."""
_UCRED = struct.Struct("3i")

log = structlog.get_logger("router")
_monotonic = time.monotonic


class Desk(Protocol):
    """What a link needs of the router."""

    instance: str

    def may_connect(self, uid: int, who: str) -> bool: ...
    def joined(self, front: Front) -> None: ...
    def left(self, front: Front) -> None: ...
    def dispatch(self, call: Call) -> None: ...
    def cancelled(self, call: Call, reason: str) -> None: ...
    def ended(self, front: Front, principal: str, session: str) -> None: ...
    def control(self, front: Front, head: Head, body: bytes) -> None: ...


class Front(asyncio.Protocol):
    """`calls` are those without an answer, by the link's own ids."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.who = ""
        self.calls: dict[int, Call] = {}
        self.closed = False
        self.paused_since = 0.0
        """When the link stopped taking bytes; 0: it takes them."""
        self._uid = -1
        self._decoder = Decoder()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.TimerHandle | None = None

    # for the router

    def holds(self, call: Call) -> bool:
        """Whether an answer to `call` is still owed."""
        return self.calls.get(call.id) is call

    def answer(self, call: Call, kind: Kind, body: bytes, era: str) -> None:
        """RESULT or ERROR, once; a second one is dropped."""
        if self.calls.pop(call.id, None) is None:
            return
        if len(body) > MAX_FRAME - 4096:
            kind, body = Kind.ERROR, InvalidRequest("the answer is too large for a frame").body()
        self.send(Head(kind, call.id, era=era), body)

    def note(self, call_id: int, method: str, params: bytes) -> None:
        if call_id in self.calls:
            self.send(Head(Kind.NOTE, call_id, method), params)

    def reply(self, head_id: int, kind: Kind, body: bytes) -> None:
        """The answer to a CONTROL."""
        self.send(Head(kind, head_id), body)

    def send(self, head: Head, body: bytes = b"") -> None:
        if self.closed:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(encode(head, body))

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self, why: str) -> None:
        log.warning("front.closed", who=self.who, uid=self._uid, reason=why)
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._uid = peer_uid(transport)
        if not self.desk.may_connect(self._uid, ""):
            self.abort(f"uid {self._uid} may not connect")
            return
        self._hello = self._loop.call_later(HELLO_S, self.abort, "no HELLO came")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._hello is not None:
            self._hello.cancel()
        self.desk.left(self)

    def pause_writing(self) -> None:
        self.paused_since = _monotonic()
        for call in self.calls.values():
            if call.back is not None:
                call.back.hold(self)

    def resume_writing(self) -> None:
        self.paused_since = 0.0
        for call in self.calls.values():
            if call.back is not None:
                call.back.let_go(self)

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._decoder.feed(data):
                if self.closed:
                    return
                if self.who:
                    self._take(head, body)
                else:
                    self._greet(head)
        except FrameError as exc:
            self.abort(str(exc))

    # inside

    def _take(self, head: Head, body: bytes) -> None:
        kind = head.kind
        if kind == Kind.CALL:
            call = self.calls[head.id] = Call(self, head, body, _monotonic())
            try:
                self.desk.dispatch(call)
            except ProtocolError as exc:
                self.answer(call, Kind.ERROR, exc.body(), "")
            except Exception:  # boundary: one call's trouble must not cost the link, and with it all other calls
                log.exception("call.failed", method=head.method, server=head.server)
                self.answer(call, Kind.ERROR, InternalError("the router failed; its log says why").body(), "")
        elif kind == Kind.CANCEL:
            cancelled = self.calls.pop(head.id, None)
            if cancelled is not None:
                self.desk.cancelled(cancelled, "the client cancelled")
        elif kind == Kind.END:
            self.desk.ended(self, head.principal, head.session)
        elif kind == Kind.CONTROL and self.who == "engine":
            self.desk.control(self, head, body)
        else:
            self.reply(head.id, Kind.ERROR, InvalidRequest(f"a {self.who} may not send frame {kind}").body())

    def _greet(self, head: Head) -> None:
        if head.kind != Kind.HELLO or head.id != VERSION or head.method not in ("coordinator", "engine"):
            self.abort(f"no HELLO of version {VERSION}: kind {head.kind}, version {head.id}, {head.method!r}")
        elif not self.desk.may_connect(self._uid, head.method):
            self.abort(f"uid {self._uid} may not be {head.method}")
        else:
            assert self._hello is not None
            self._hello.cancel()
            self.who = head.method
            self.desk.joined(self)
            self.send(Head(Kind.WELCOME, CREDIT, instance=self.desk.instance))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self.closed:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))


def peer_uid(transport: asyncio.BaseTransport) -> int:
    """The uid of the process at the other end of a unix socket (SO_PEERCRED)."""
    connection = transport.get_extra_info("socket")
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
