"""`Link`: one connection to a router.

Owns call ids, credit, coalesced writes and what a lost link means for every open call. Knows nothing of MCP bodies.
The server end is `central_mcp.router`.

    Unavailable
    +-- LinkLost    the router cannot be reached, or went away
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import msgspec
import structlog

from central_mcp.protocol import errors
from central_mcp.protocol.errors import OutcomeUnknown, ProtocolError, Unavailable
from central_mcp.protocol.frames import VERSION, Decoder, FrameError, Head, Kind, encode

Done = Callable[[Head, bytes], None]
"""Gets the RESULT or ERROR frame of one call, exactly once, synchronously on arrival."""
OnNote = Callable[[int, Head, bytes], None]
OnChanged = Callable[[str, str], None]

WELCOME_S = 5.0
"""A router that does not greet within this time is hung or is no router."""
WRITE_HIGH = 4 << 20
"""Bytes that may wait in the socket's buffer; above it calls wait in the link, so that they count as never written."""

log = structlog.get_logger("link")
_CLASSES: dict[int, type[ProtocolError]] = {
    cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ProtocolError)
}


class LinkLost(Unavailable):
    """The router cannot be reached, or went away."""


class _ErrorBody(msgspec.Struct):
    code: int = -32603
    message: str = "error without a message"
    data: Any = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def error_from(body: bytes) -> ProtocolError:
    """The exception that an ERROR frame's body stands for; an unknown code keeps its number in `.code`."""
    try:
        found = _decode_error(body)
    except msgspec.DecodeError:
        return ProtocolError(f"unreadable error: {body[:200]!r}")
    cls = _CLASSES.get(found.code)
    if cls is not None:
        return cls(found.message, found.data)
    error = ProtocolError(found.message, found.data)
    error.code = found.code
    return error


def fail(done: Done, head: Head, error: ProtocolError) -> None:
    _deliver(done, Head(Kind.ERROR, head.id, head.method, head.server), error.body())


def _deliver(done: Done, head: Head, body: bytes) -> None:
    try:
        done(head, body)
    except Exception:  # boundary: one caller's callback must not break the calls of the others
        log.exception("link.callback_failed", method=head.method, server=head.server)


class Link(asyncio.Protocol):
    """One connection to a router. Make it with `await Link.connect(...)`; never reused after a loss."""

    instance = ""
    """Which router this is, `main#1`."""

    def __init__(
        self,
        who: str,
        on_note: OnNote,
        on_changed: OnChanged,
        on_lost: Callable[[LinkLost], None] | None = None,
        *,
        ids: Iterator[int] | None = None,
        unsent: Callable[[Head, bytes, Done], None] | None = None,
    ) -> None:
        self._who = who
        self._on_note = on_note
        self._on_changed = on_changed
        self._on_lost = on_lost
        self._ids = ids or itertools.count(1)
        self._give_back = unsent
        self._decoder = Decoder()
        self._open: dict[int, Done] = {}  # written, unanswered
        self._waiting: dict[int, tuple[Head, bytes, Done]] = {}  # beyond the credit, in order of arrival
        self._out: list[bytes] = []
        self._credit = 0
        self._paused = False
        self._closed = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(
        cls,
        path: Path,
        who: Literal["coordinator", "engine"],
        *,
        on_note: OnNote,
        on_changed: OnChanged,
        on_lost: Callable[[LinkLost], None] | None = None,
        ids: Iterator[int] | None = None,
        unsent: Callable[[Head, bytes, Done], None] | None = None,
    ) -> "Link":
        """Dial and greet. Raises `LinkLost` when nobody answers at `path`, or it is no router of our version.

        `ids` and `unsent` (gets the calls that a loss left unwritten, instead of their `done`) are for `Redial`.
        """
        link = cls(who, on_note, on_changed, on_lost, ids=ids, unsent=unsent)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WELCOME_S):
                await loop.create_unix_connection(lambda: link, str(path))
                await link._welcome
        except TimeoutError as exc:
            link.close()
            raise LinkLost(f"the router at {path} does not answer; look at its log, or restart it") from exc
        except OSError as exc:
            raise LinkLost(f"no router at {path}: {exc.strerror or exc}") from exc
        except BaseException:
            link.close()
            raise
        return link

    @property
    def up(self) -> bool:
        return not self._closed

    @property
    def open(self) -> int:
        """Calls without an answer, waiting ones included."""
        return len(self._open) + len(self._waiting)

    # calls

    def call(self, head: Head, body: bytes, done: Done) -> int:
        """Send a CALL (a CONTROL when `head.kind` says so) under a fresh id, which is returned and set in `head`.

        `done` gets RESULT or ERROR. After a loss that is a synthetic ERROR: 50300 when the call was never written,
        50900 when it was. Calls beyond the router's credit wait here.
        """
        head.id = next(self._ids)
        self.submit(head, body, done)
        return head.id

    def submit(self, head: Head, body: bytes, done: Done) -> None:
        """`call` under the id that `head` has already."""
        if head.kind != Kind.CONTROL:
            head.kind = Kind.CALL
        if self._closed:
            fail(done, head, LinkLost("the router went away before the call was sent; try again"))
        elif self._paused or self._waiting or len(self._open) >= self._credit:
            self._waiting[head.id] = (head, body, done)
        else:
            self._send_call(head, body, done)

    async def ask(self, head: Head, body: bytes = b"{}") -> bytes:
        """`call` as a coroutine: the result's raw JSON. Raises the `ProtocolError` that the answer stands for."""
        return await ask(self, head, body)

    async def control(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        """A CONTROL request (engine links only), result decoded. Raises `ProtocolError`."""
        return await control(self, method, arguments)

    def cancel(self, call_id: int) -> None:
        """Nobody waits for this call any more: its `done` will not be called."""
        if self._waiting.pop(call_id, None) is None and self._open.pop(call_id, None) is not None:
            self._send(encode(Head(Kind.CANCEL, call_id)))
            self._pump()

    def end(self, principal: str, session: str) -> None:
        """The client session is over: processes that serve only it may end."""
        if not self._closed:
            self._send(encode(Head(Kind.END, principal=principal, session=session)))

    def close(self) -> None:
        """Close at once. Open calls get the error of a lost link."""
        if self._transport is not None:
            self._transport.abort()
        self._lost(LinkLost("the link to the router was closed"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        if self._closed:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        transport.write(encode(Head(Kind.HELLO, VERSION, self._who)))

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._decoder.feed(data):
                kind = head.kind
                if kind == Kind.RESULT or kind == Kind.ERROR:
                    done = self._open.pop(head.id, None)
                    if done is not None:
                        _deliver(done, head, body)
                elif kind == Kind.NOTE:
                    if head.id in self._open:
                        self._on_note(head.id, head, body)
                elif kind == Kind.CHANGED:
                    self._on_changed(head.server, head.method)
                elif kind == Kind.WELCOME:
                    self._greeted(head)
        except FrameError as exc:
            log.error("link.garbage", reason=str(exc), instance=self.instance)
            self.close()
            return
        if self._waiting:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(LinkLost("the router went away" + (f" ({exc})" if exc else "")))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    # inside

    def _greeted(self, head: Head) -> None:
        self.instance = head.instance
        self._credit = head.id
        if not self._welcome.done():
            self._welcome.set_result(None)
        self._pump()

    def _send_call(self, head: Head, body: bytes, done: Done) -> None:
        try:
            frame = encode(head, body)
        except FrameError as exc:
            fail(done, head, errors.InvalidRequest(f"the message is too large: {exc}"))
            return
        self._open[head.id] = done
        self._send(frame)

    def _send(self, frame: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._closed:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _pump(self) -> None:
        waiting = self._waiting
        while waiting and not self._paused and len(self._open) < self._credit:
            self._send_call(*waiting.pop(next(iter(waiting))))

    def _lost(self, why: LinkLost) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._welcome.done():
            self._welcome.set_exception(why)
            self._welcome.exception()  # seen, also when nobody awaits it any more
        written, self._open = self._open, {}
        waiting, self._waiting = self._waiting, {}
        if self._on_lost is not None:
            self._on_lost(why)  # first, so that whoever calls again in `done` finds this link gone
        for head, body, done in waiting.values():
            if self._give_back is not None:
                self._give_back(head, body, done)
            else:
                fail(done, head, LinkLost(f"{why.message}; the call was not sent, try again"))
        for call_id, done in written.items():
            message = f"{why.message} while the call was under way: its outcome is unknown"
            fail(done, Head(Kind.ERROR, call_id), OutcomeUnknown(message))


class Caller(Protocol):
    """What `ask` and `control` need: `Link` and `Redial` have it."""

    def call(self, head: Head, body: bytes, done: Done) -> int: ...
    def cancel(self, call_id: int) -> None: ...


async def ask(link: Caller, head: Head, body: bytes) -> bytes:
    answer: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()

    def done(head: Head, body: bytes) -> None:
        if not answer.done():
            answer.set_result((head, body))

    call_id = link.call(head, body, done)
    try:
        head, body = await answer
    except asyncio.CancelledError:
        link.cancel(call_id)
        raise
    if head.kind == Kind.ERROR:
        raise error_from(body)
    return body


async def control(link: Caller, method: str, arguments: dict[str, Any] | None) -> Any:
    body = msgspec.json.encode(arguments or {})
    return msgspec.json.decode(await ask(link, Head(Kind.CONTROL, method=method), body))
