"""One HTTP response as a conversation's sink: plain JSON if the answer comes first, else an event stream.

Owns the decision between the two, keep-alive comments, and noticing that the client has gone. Used by http.py only.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from central_mcp.protocol.errors import ProtocolError
from central_mcp.protocol.messages import Message, error_message
from central_mcp.protocol.neutral import Request

from .front import Front

if TYPE_CHECKING:
    from .conversation import Conversation

PATIENCE_S = 0.05
"""A call that takes longer is worth watching its client for: until then nobody looks whether it has gone."""
KEEP_ALIVE_S = 15.0
"""A silent call becomes an event stream after this time, and gets a comment as often, for proxies that time out."""
MAX_QUEUED = 10_000
"""Notifications that may wait for one client that does not read."""

_STATUS = {
    -32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404,
    40100: 401, 40300: 403, 42900: 429, 50300: 503, 50400: 504, 50900: 502,
}  # fmt: skip
_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_LINE_BREAKS = bytes.maketrans(b"\n\r", b"  ")
"""Whitespace in JSON, but the end of an event's line: a server may have put some into its result."""
_RETRY_S = b"1"

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Reply:
    """The sink of one request. `run()` it, or `run_stream()` for a stream without a request."""

    def __init__(self, send: Send, receive: Receive, *, statuses: bool, stream: bool) -> None:
        """`statuses`: error codes show in the HTTP status (modern). `stream`: the client takes event streams."""
        self._send = send
        self._receive = receive
        self._statuses = statuses
        self._may_stream = stream
        self._queue: deque[bytes] = deque()
        self._final: tuple[bytes, int] | None = None
        self._ended = False
        self._settled = False
        self._streaming = False
        self._wake: asyncio.Future[None] | None = None
        self.on_result: Callable[[], list[tuple[bytes, bytes]]] | None = None
        """Further headers of a successful answer."""

    # the conversation's sink

    def answer(self, message: bytes, code: int) -> None:
        self._final = (message, code)
        self._signal()

    def note(self, message: bytes) -> None:
        if self._may_stream and len(self._queue) < MAX_QUEUED:
            self._queue.append(message)
            self._signal()

    def settled(self) -> None:
        self._settled = True
        self._signal()

    def revoke(self) -> None:
        self._ended = True
        self._signal()

    # running

    async def run(
        self, front: Front, conversation: "Conversation", message: Message, request: Request | None, *, cancel: bool
    ) -> None:
        """Handle `message` and answer. `cancel`: the client's going ends the call."""
        conversation.handle(message, request)
        if self._final is not None and not self._queue:  # answered at once
            await self._plain()
            return
        gone = True
        try:
            gone = await self._wait_and_send(front, conversation)
        finally:
            conversation.end(cancel=cancel and gone)

    async def run_stream(self, front: Front, conversation: "Conversation") -> None:
        """An event stream of notifications until the client or the coordinator goes."""
        front.conversations.add(conversation)
        try:
            await self._start_stream()
            await self._wait_and_send(front, conversation)
        finally:
            conversation.end(cancel=False)

    async def _wait_and_send(self, front: Front, conversation: "Conversation") -> bool:
        """True when the client went before its answer."""
        watch: asyncio.Task[None] | None = None
        closing: asyncio.Task[Any] | None = None
        pause = PATIENCE_S
        try:
            while True:
                if not self._has_news():
                    await self._sleep(pause if watch is None else KEEP_ALIVE_S)
                if self._ended:
                    await self._end_stream()
                    return True
                if watch is not None and watch.done():
                    return True
                if closing is not None and closing.done():
                    conversation.finish_listens()
                    if self._final is None and not conversation.open:
                        await self._end_stream()
                        return False
                if self._final is not None and not self._streaming and not self._queue:
                    await self._plain()
                    return False
                if self._queue or self._final is not None:
                    await self._events()
                    if self._final is not None:
                        return False
                elif self._settled:  # cancelled by another request of its session: no answer is owed
                    await self._end_stream()
                    return False
                elif watch is None:
                    watch = asyncio.ensure_future(self._until_gone())
                    watch.add_done_callback(lambda _: self._signal())
                    closing = asyncio.ensure_future(front.closing.wait())
                    closing.add_done_callback(lambda _: self._signal())
                elif self._may_stream:
                    await self._comment()
        finally:
            for task in (watch, closing):
                if task is not None:
                    task.cancel()

    def _has_news(self) -> bool:
        return bool(self._queue) or self._final is not None or self._ended or self._settled

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        wake = self._wake = loop.create_future()
        timer = loop.call_later(seconds, self._signal)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None

    def _signal(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # sending

    async def _plain(self) -> None:
        assert self._final is not None
        message, code = self._final
        status = _STATUS.get(code, 200) if code and self._statuses else 200
        extra = self.on_result() if self.on_result is not None and not code else []
        await _send_json(self._send, status, message, extra)

    async def _events(self) -> None:
        if not self._streaming:
            await self._start_stream()
        parts = list(self._queue)
        self._queue.clear()
        if self._final is not None:
            parts.append(self._final[0])
        events = b"".join(b"event: message\ndata: %b\n\n" % part.translate(_LINE_BREAKS) for part in parts)
        await self._send({"type": "http.response.body", "body": events, "more_body": self._final is None})

    async def _comment(self) -> None:
        if not self._streaming:
            await self._start_stream()
        await self._send({"type": "http.response.body", "body": b": waiting\n\n", "more_body": True})

    async def _start_stream(self) -> None:
        self._streaming = True
        await self._send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def _end_stream(self) -> None:
        if not self._streaming:
            await self._start_stream()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def send_error(send: Send, error: ProtocolError, id: bytes) -> None:
    """`error` as the whole response."""
    extra: list[tuple[bytes, bytes]] = []
    if error.status == HTTPStatus.UNAUTHORIZED:
        extra = [(b"www-authenticate", b"Bearer")]
    elif error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        extra = [(b"retry-after", _RETRY_S)]
    elif error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra = [(b"allow", b"POST")]
    await _send_json(send, error.status, error_message(id, error.body()), extra)


async def send_plain(send: Send, status: int) -> None:
    """A response without a body."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _send_json(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]]) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
