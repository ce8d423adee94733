"""One connection to a runner, which is one process of a server: lines out, lines in, calls by their ids.

Owns the ids and progress tokens of its connection. Knows one era, settled by `opening`. Whatever the server sends, only
its own calls can be hurt by it. Owned by a `Pool`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import structlog

from central_mcp.protocol import back as wire
from central_mcp.protocol.errors import InternalError, InvalidParams
from central_mcp.protocol.frames import Kind
from central_mcp.protocol.lines import MAX_LINE, Lines, Message, NotAMessage, Oversize, parse, plain

from .call import Call

WRITE_HIGH = 1 << 20
"""Bytes that a server may leave unread before new calls to it are refused."""
NOISE_LOGGED = 5
GOODBYE_S = 10.0
"""A server has this long to end by itself when its input ends; the runner's grace time is shorter."""
LIST_CHANGED = frozenset(
    (
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    )
)

log = structlog.get_logger("router")
_monotonic = time.monotonic


class Owner(Protocol):
    """What a connection tells the pool that holds it."""

    server: str
    number: int

    def answered(self, call: Call, kind: Kind, body: bytes, era: str) -> None: ...
    def changed(self, method: str) -> None: ...
    def lost(self, back: Back) -> None: ...
    def reads_again(self, back: Back) -> None: ...


class BackLost(ConnectionError):
    """The server closed its connection during the handshake."""


class Back(asyncio.Protocol):
    """Connected by `opening.open_back`. `usable` says whether new calls may go to it."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.era = ""
        self.hello = wire.Hello()
        self.calls: dict[int, Call] = {}
        self.opened = time.time()
        self.started = _monotonic()
        self.ready = 0.0
        """When the handshake was over; 0: not yet."""
        self.heard = 0.0
        """When it last sent a line of JSON-RPC; 0: never."""
        self.used = self.started
        self.noise = 0
        self.last_noise = ""
        self.full = False
        self.leaving = ""
        """Why it takes no new calls any more; empty: it does."""
        self.closed = False
        self._ending = False
        self.exits_before = 0
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._listening = 0
        self._next = 0
        self._out: list[bytes] = []
        self._lines = Lines()
        self._holders: set[object] = set()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def usable(self) -> bool:
        return not (self.closed or self.full or self.leaving)

    # the handshake

    def ask(self, line: Callable[[int], bytes]) -> asyncio.Future[Message]:
        """Send a request of our own (`line` makes it from an id). The future raises `BackLost`."""
        self._next += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        if self.closed:
            future.set_exception(BackLost())
            return future
        self._asked[self._next] = future
        self._write(line(self._next))
        return future

    def settle(self, era: str, hello: wire.Hello) -> None:
        """The handshake is over; calls may come."""
        self.era = era
        self.hello = hello
        self.ready = _monotonic()
        if era == "legacy":
            self._write(wire.initialized())
            return
        self._next += 1
        line = wire.listen(self._next, hello.capabilities)
        if line:
            self._listening = self._next
            self._write(line)

    # calls

    def send(self, call: Call) -> None:
        """Write `call` and keep it until its answer. Raises `InvalidParams` (params that are no object)."""
        head = call.head
        self._next = back_id = self._next + 1
        if self.era == "modern":
            caps = head.caps if head.era == "modern" else b""  # a legacy caller cannot be asked by a result
            token = back_id if head.progress else None
            stamp = wire.meta(modern=True, caps=caps, client=head.client, log_level=head.log_level, token=token)
        else:
            stamp = b'"progressToken":%d' % back_id if head.progress else b""
        line = wire.request(back_id, head.method, call.body, stamp)
        call.back = self
        call.back_id = back_id
        call.written = self.used = now = _monotonic()
        call.alive(now)
        self.calls[back_id] = call
        self._write(line)

    def cancel(self, call: Call, reason: str) -> None:
        """Tell the server that nobody waits for `call` any more; a late answer is dropped."""
        if self.calls.pop(call.back_id, None) is not None:
            self._write(wire.cancelled(call.back_id, reason))

    def close(self, why: str) -> None:
        """No new calls, and the server's input ends; its own end then ends the connection.

        Half a close, since a server that may still say goodbye (the result of a listen, say) ends in peace instead of
        with a broken pipe. Open calls stay the owner's to answer.
        """
        self.leaving = self.leaving or why
        if self._ending or self._transport is None or self._transport.is_closing():
            return
        self._ending = True
        self._flush()
        self._transport.write_eof()
        self._loop.call_later(GOODBYE_S, self._transport.close)

    def abort(self) -> None:
        self.leaving = self.leaving or "aborted"
        if self._transport is not None:
            self._transport.abort()

    def hold(self, holder: object) -> None:
        """Stop reading: `holder` cannot take more."""
        if not self._holders and self._transport is not None and not self.closed:
            self._transport.pause_reading()
        self._holders.add(holder)

    def let_go(self, holder: object) -> None:
        if holder in self._holders:
            self._holders.discard(holder)
            if not self._holders and self._transport is not None and not self.closed:
                self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self.owner.reads_again(self)

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if type(line) is Oversize:
                self._oversize(line)
                continue
            assert type(line) is bytes
            try:
                message = parse(line)
            except NotAMessage:
                if line.strip():
                    self._noisy(line)
                continue
            if message.method:
                self._spoke(message)
                continue
            call = self.calls.pop(message.id, None)  # type: ignore[arg-type]
            if call is not None:
                self._answer(call, message)
            else:
                self._other(message, line)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._holders.clear()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(BackLost())
                future.exception()  # seen, also when nobody awaits it
        self._asked.clear()
        self.owner.lost(self)

    # inside

    def _write(self, line: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(line)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self.closed:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _answer(self, call: Call, message: Message) -> None:
        self.heard = _monotonic()
        body = bytes(message.result)
        if body[:1] == b"{":
            self.owner.answered(call, Kind.RESULT, body, self.era)
        elif error := wire.checked_error(bytes(message.error)):
            self.owner.answered(call, Kind.ERROR, error, self.era)
        else:
            what = f"server {self.owner.server} answered {call.what} with neither a result nor an error that is one"
            self.owner.answered(call, Kind.ERROR, InternalError(what).body(), self.era)

    def _other(self, message: Message, line: bytes) -> None:
        """An answer to a request of ours, a late one, or nonsense."""
        future = self._asked.pop(message.id, None)  # type: ignore[arg-type]
        if future is not None:
            self.heard = _monotonic()
            if not future.done():
                future.set_result(message)
        elif not (isinstance(message.id, int) and 0 < message.id <= self._next):
            self._noisy(line)

    def _spoke(self, message: Message) -> None:
        """A request or a notification from the server."""
        self.heard = _monotonic()
        method = message.method
        if message.id is not None:
            if not self.full:  # who does not read gets no answers either
                self._write(wire.answer(message))
        elif method == "notifications/progress":
            self._progress(message)
        elif method in LIST_CHANGED:
            self.owner.changed(method)
        elif method == "notifications/message" and len(self.calls) == 1:
            (call,) = self.calls.values()  # the only one that it can belong to
            if call.head.log_level:
                call.front.note(call.id, method, bytes(message.params))

    def _progress(self, message: Message) -> None:
        token, params = wire.split_progress(message.params)
        call = self.calls.get(token) if isinstance(token, int) else None
        if call is not None and call.head.progress:
            call.alive(_monotonic())
            call.front.note(call.id, message.method, params)

    def _oversize(self, line: Oversize) -> None:
        call = self.calls.pop(line.id, None) if line.id is not None else None
        log.warning("server.oversize", server=self.owner.server, bytes=line.size, matched=call is not None)
        if call is not None:
            what = f"the answer of server {self.owner.server} has {line.size} bytes; the limit is {MAX_LINE}"
            self.owner.answered(call, Kind.ERROR, InternalError(what).body(), self.era)

    def _noisy(self, line: bytes) -> None:
        self.noise += 1
        self.last_noise = plain(line[:400])
        if self.noise <= NOISE_LOGGED:
            name = f"{self.owner.server}@{self.owner.number}"
            log.warning("server.noise", server=name, line=self.last_noise, count=self.noise)


def accept(back: Back, call: Call) -> Any:
    """`back.send`, with bad params answered instead of raised."""
    try:
        back.send(call)
    except InvalidParams as exc:
        back.owner.answered(call, Kind.ERROR, exc.body(), back.era)
