"""MCP over Streamable HTTP as a raw ASGI app: both eras, told apart by MCP-Protocol-Version. Other paths go on.

Owns what HTTP adds: headers and their ladder, status codes, event streams, sessions. A `Conversation` a request does
the rest. Source: MCP 2026-07-28 and 2025-11-25, transports.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from central_mcp.protocol import eras, headers, messages
from central_mcp.protocol.errors import HeaderMismatch, InvalidRequest, MethodNotFound, ProtocolError
from central_mcp.protocol.messages import NO_ID, Message
from central_mcp.protocol.neutral import Request

from .access import Caller
from .conversation import Conversation
from .endpoints import server_at
from .front import Front
from .reply import Reply, send_error, send_plain
from .sessions import Session, Sessions, UnknownSession

MAX_BODY = 16 << 20
"""Bytes of one request's body."""
BODY_S = 60.0
"""Seconds that a body may take to come."""
MAX_HEADERS = 16 << 10
"""Bytes of all header lines together."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_ROUTING = (headers.VERSION, headers.METHOD, headers.NAME)


class BadHttp(ProtocolError):
    """The request does not keep the rules of the transport; `status` says which."""

    code = InvalidRequest.code

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gone(Exception):
    """The client went away before its request was complete."""


class Incoming:
    """One HTTP request whose caller has been let in."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, fields: "Fields", caller: Caller, server: str
    ) -> None:
        self.method: str = scope["method"]
        self.receive = receive
        self.send = send
        self.fields = fields
        self.caller = caller
        self.server = server


class Fields:
    """Header lines by lower-case name; knows of duplicates. Decodes only what is asked for."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._last = dict(raw)
        self._unique = len(self._last) == len(raw)
        self.too_large = sum(len(name) + len(value) for name, value in raw) > MAX_HEADERS

    def all(self, name: str) -> list[str]:
        key = name.encode("latin-1")
        if self._unique:
            value = self._last.get(key)
            return [] if value is None else [_text(value)]
        return [_text(value) for known, value in self._raw if known == key]

    def get(self, name: str, default: str = "") -> str:
        """The one line of this name; with several, the last."""
        value = self._last.get(name.encode("latin-1"))
        return default if value is None else _text(value)

    def repeated(self, names: tuple[str, ...]) -> str:
        """Which of `names` came more than once; empty: none."""
        return "" if self._unique else next((name for name in names if len(self.all(name)) > 1), "")


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("latin-1")


class McpHttp:
    """The ASGI app: `/mcp`, `/s/<server>/mcp` and alias ports; everything else is `rest`'s."""

    def __init__(self, front: Front, sessions: Sessions, aliases: dict[int, str], rest: App) -> None:
        self._front = front
        self._sessions = sessions
        self._aliases = aliases
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._rest(scope, receive, send)
        fields = Fields(scope["headers"])
        try:
            if fields.too_large:
                raise BadHttp(431, f"header lines may have {MAX_HEADERS} bytes")
            self._front.access.check_way(fields.all("host"), fields.all("origin"))
            port = scope["server"][1] if scope.get("server") else 0
            server = server_at(scope["path"], port, self._aliases)
            if server is None:
                return await self._rest(scope, receive, send)
            caller = self._front.access.identify(
                fields.all("authorization"),
                fields.all("x-api-key"),
                fields.get("x-central-project"),
                fields.get("x-central-client"),
            )
            if server and server not in self._front.directory.entries:
                raise BadHttp(404, f"no server {server!r} here; `central status` lists them")
            await self._serve(Incoming(scope, receive, send, fields, caller, server))
        except ProtocolError as exc:
            self._front.metrics.refused += exc.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            await send_error(send, exc, NO_ID)
        except Gone:
            return None
        return None

    async def _serve(self, incoming: Incoming) -> None:
        version = incoming.fields.get(headers.VERSION)
        if version and version not in eras.LEGACY_VERSIONS:
            await self._modern(incoming)
        elif incoming.method == "POST":
            await self._legacy_post(incoming)
        elif incoming.method == "GET":
            await self._stream(incoming)
        elif incoming.method == "DELETE":
            self._sessions.end(self._session(incoming))
            await send_plain(incoming.send, HTTPStatus.OK)
        else:
            raise BadHttp(405, "this endpoint takes POST, GET and DELETE")

    # modern: one request, one response

    async def _modern(self, incoming: Incoming) -> None:
        if incoming.method != "POST":
            raise BadHttp(405, "MCP 2026-07-28 takes POST only")
        message = await self._message(incoming)
        if not message.method:
            raise InvalidRequest("the body must be a request or a notification")
        version = incoming.fields.get(headers.VERSION)
        if not messages.has_id(message):
            if version not in eras.MODERN_VERSIONS:
                raise BadHttp(400, f"unsupported protocol version {version[:50]!r}")
            await send_plain(incoming.send, HTTPStatus.ACCEPTED)
            return
        id = messages.id_of(message)
        try:
            request = Request(messages.params_of(message))
            self._check_modern(message, request, incoming)
        except ProtocolError as exc:
            await send_error(incoming.send, exc, id)
            return
        reply = Reply(incoming.send, incoming.receive, statuses=True, stream=_takes_stream(incoming.fields))
        session = incoming.caller.client
        conversation = Conversation(self._front, incoming.caller, incoming.server, reply, session=session)
        await reply.run(self._front, conversation, message, request, cancel=True)

    def _check_modern(self, message: Message, request: Request, incoming: Incoming) -> None:
        """The ladder: the first rung that fails wins. Raises `ProtocolError`."""
        fields = incoming.fields
        version = request.check_present()
        if twice := fields.repeated(_ROUTING):
            raise HeaderMismatch(f"the header {twice} came twice")
        key = headers.name_field(message.method)
        name = request.text(key) if key and key in request.fields else None
        headers.check(fields.get, message.method, version, name)
        request.check_envelope()
        if message.method == "initialize":
            raise MethodNotFound("Method not found: initialize (removed in MCP 2026-07-28)")
        if message.method == "tools/call" and name is not None:
            declared = self._front.directory.mirrored(incoming.server, name)
            if declared:
                headers.check_parameters(declared, request.fields.get("arguments"), fields.all)

    # legacy: sessions

    async def _legacy_post(self, incoming: Incoming) -> None:
        message = await self._message(incoming)
        try:
            await self._legacy_message(incoming, message)
        except ProtocolError as exc:
            await send_error(incoming.send, exc, messages.id_of(message))

    async def _legacy_message(self, incoming: Incoming, message: Message) -> None:
        fields = incoming.fields
        opening = message.method == "initialize" and messages.has_id(message)
        if not opening and not fields.get(headers.SESSION):
            self._refuse_headerless(message)
        reply = Reply(incoming.send, incoming.receive, statuses=False, stream=_takes_stream(fields))
        if opening:
            session = self._sessions.open(incoming.caller, incoming.server)
            reply.on_result = lambda: self._sessions.header(session)
        else:
            session = self._session(incoming)
        conversation = session.conversation(self._front, incoming.caller, reply)
        if not messages.has_id(message) or not message.method:
            conversation.handle(message)
            session.keep()
            await send_plain(incoming.send, HTTPStatus.ACCEPTED)
            return
        await reply.run(self._front, conversation, message, None, cancel=False)
        session.keep()

    def _refuse_headerless(self, message: Message) -> None:
        """No session and no version header: say what is missing, for whichever era it meant."""
        request = Request(messages.params_of(message))
        if request.modern and message.method:
            raise HeaderMismatch("the header MCP-Protocol-Version is missing")
        raise BadHttp(400, "the header Mcp-Session-Id is missing: send initialize first")

    def _session(self, incoming: Incoming) -> Session:
        token = incoming.fields.get(headers.SESSION)
        if not token:
            raise BadHttp(400, "the header Mcp-Session-Id is missing: send initialize first")
        try:
            return self._sessions.find(incoming.caller, incoming.server, token)
        except UnknownSession:
            raise BadHttp(404, "no such session: send initialize again") from None

    async def _stream(self, incoming: Incoming) -> None:
        if "text/event-stream" not in incoming.fields.get("accept"):
            raise BadHttp(406, "GET opens an event stream: send Accept: text/event-stream")
        session = self._session(incoming)
        reply = Reply(incoming.send, incoming.receive, statuses=False, stream=True)
        conversation = session.conversation(self._front, incoming.caller, reply, listening=True)
        await reply.run_stream(self._front, conversation)

    # bodies

    async def _message(self, incoming: Incoming) -> Message:
        fields = incoming.fields
        if fields.get("content-type").partition(";")[0].strip().lower() != "application/json":
            raise BadHttp(415, "send Content-Type: application/json")
        accept = fields.get("accept", "*/*")
        if not any(kind in accept for kind in ("application/json", "text/event-stream", "*/*", "application/*")):
            raise BadHttp(406, "send Accept: application/json, text/event-stream")
        length = fields.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise BadHttp(413, f"a message may have {MAX_BODY} bytes")
        try:
            async with asyncio.timeout(BODY_S):
                data = await _body(incoming.receive)
        except TimeoutError:
            raise BadHttp(408, f"the body took longer than {BODY_S:.0f} s") from None
        try:
            return messages.parse(data)
        except messages.Malformed as exc:
            self._front.metrics.malformed += 1
            raise exc.error from None


async def _body(receive: Receive) -> bytes:
    event = await receive()
    if event["type"] == "http.request" and not event.get("more_body"):
        body: bytes = event.get("body", b"")
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if event["type"] != "http.request":
            raise Gone
        part = event.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise BadHttp(413, f"a message may have {MAX_BODY} bytes")
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)
        event = await receive()


def _takes_stream(fields: Fields) -> bool:
    accept = fields.get("accept", "*/*")
    return "text/event-stream" in accept or "*/*" in accept
