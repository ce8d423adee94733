"""One client's exchange of messages at one endpoint, whatever carries it: dispatch, calls under way, listens.

Owns the MCP rules of the front. A sink (ws.py, http.py) carries what it says. Talks to the router through `Front.link`
only. Errors of one conversation end in an answer here and reach no other.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog
from msgspec import Raw

from central_mcp.protocol import eras, messages
from central_mcp.protocol.eras import LEGACY, MODERN
from central_mcp.protocol.errors import (
    InternalError,
    InvalidParams,
    InvalidRequest,
    Limited,
    MethodNotFound,
    ProtocolError,
)
from central_mcp.protocol.frames import Head
from central_mcp.protocol.messages import Message
from central_mcp.protocol.neutral import Request, flag
from central_mcp.registry import Release

from . import opening
from .access import Caller
from .exchange import Exchange
from .front import Front

MAX_LISTENS = 64
"""Subscriptions of one conversation."""
MAX_ID = 1024
"""Bytes of a request id."""
CURSOR_S = 3600.0

ROUTED = frozenset(
    (
        "tools/call", "tools/list", "prompts/list", "prompts/get", "resources/list", "resources/templates/list",
        "resources/read", "completion/complete",
    )
)  # fmt: skip
"""What `/s/<server>/mcp` hands to the server; the aggregate has tools only."""

log = structlog.get_logger("conversation")


class Sink(Protocol):
    """Where a conversation's messages go."""

    def answer(self, message: bytes, code: int) -> None:
        """The one answer to a request; `code`: of its JSON-RPC error, 0 for a result."""

    def note(self, message: bytes) -> None:
        """A notification."""

    def settled(self) -> None:
        """One request fewer is under way."""

    def revoke(self) -> None:
        """The caller's key is no longer valid."""


class Conversation:
    """At `server`, or at the aggregate when that is empty. `handle()` each message; `end()` once."""

    def __init__(
        self,
        front: Front,
        caller: Caller,
        server: str,
        sink: Sink,
        *,
        session: str,
        clock: Callable[[], float] = time.time,
        agreed: opening.Agreed | None = None,
        open: dict[bytes, Exchange] | None = None,
    ) -> None:
        self.front = front
        self.caller = caller
        self.principal = caller.principal
        self.server = server
        self.sink = sink
        self.session = session
        self.clock = clock
        self.agreed = agreed
        """What a legacy `initialize` settled; None before, and for ever with modern clients."""
        self.open: dict[bytes, Exchange] = {} if open is None else open
        """Calls under way by raw id; the conversations of one legacy HTTP session share it."""
        self.listens: dict[bytes, frozenset[str]] = {}

    def take(self, data: bytes) -> None:
        """One message as bytes, of either era."""
        try:
            message = messages.parse(data)
        except messages.Malformed as exc:
            self.front.metrics.malformed += 1
            self.sink.answer(messages.error_message(exc.id, exc.error.body()), exc.error.code)
            return
        self.handle(message)

    def handle(self, message: Message, request: Request | None = None) -> None:
        """One parsed message; `request`: its params, if the caller has opened them already."""
        if not message.method:
            return  # a response: we never ask
        if not messages.has_id(message):
            self._notified(message)
            return
        id = bytes(message.id)
        try:
            if len(id) > MAX_ID:
                raise InvalidRequest(f"an id may have {MAX_ID} bytes")
            if id in self.open or id in self.listens:
                raise InvalidRequest(f"id {id.decode()} is in use by a request that is not answered yet")
            self._dispatch(id, message.method, request or Request(messages.params_of(message)))
        except ProtocolError as exc:
            self.sink.answer(messages.error_message(id, exc.body()), exc.code)
        except Exception:  # boundary: one conversation's failure is answered, logged and ends here
            log.exception("request.failed", method=message.method, server=self.server, principal=self.principal)
            error = InternalError("the coordinator failed to handle this request; its log says why")
            self.sink.answer(messages.error_message(id, error.body()), error.code)

    def changed(self, method: str) -> None:
        """A list changed: tell who asked to be told."""
        if self.agreed is not None and self.agreed.listening:
            self.sink.note(messages.notification(method))
        for id, methods in self.listens.items():
            if method in methods:
                self.sink.note(messages.notification(method, _subscription(id)))

    def revoke(self) -> None:
        self.sink.revoke()

    def end(self, *, cancel: bool) -> None:
        """The client has gone. `cancel`: what it waits for is of no use any more, else calls may finish unheard."""
        self.front.conversations.discard(self)
        self.listens.clear()
        for exchange in self.own_calls():
            del self.open[exchange.id]
            if cancel:
                exchange.cancel()
            else:
                exchange.abandon()

    def own_calls(self) -> list[Exchange]:
        return [exchange for exchange in self.open.values() if exchange.conversation is self]

    def finish_listens(self) -> None:
        """We are going: end every subscription by its final result."""
        for id in list(self.listens):
            del self.listens[id]
            body = b'{"resultType":"complete",%b' % _subscription(id)[1:]
            self.sink.answer(messages.result_message(id, body), 0)

    # requests

    def _dispatch(self, id: bytes, method: str, request: Request) -> None:
        if request.modern and method != "initialize":
            request.check_envelope()
            era, version = MODERN, ""
        elif self.agreed is not None:
            era, version = LEGACY, self.agreed.version
        else:
            self._before_agreement(id, method, request)
            return
        if method == "tools/call":
            self._call_tool(id, request, era, version)
        elif method in ROUTED and self.server:
            self._route(id, method, request, era, version, self.server)
        elif method == "tools/list":
            self._list_tools(id, request, era)
        elif era == MODERN:
            self._modern(id, method, request)
        else:
            self._legacy(id, method, request)

    def _before_agreement(self, id: bytes, method: str, request: Request) -> None:
        if method == "initialize":
            self._initialize(id, request)
        elif method == "ping":
            self._result(id, b"{}")
        elif method in ("server/discover", "subscriptions/listen"):
            request.check_envelope()  # modern methods: say which key of the envelope is missing
        else:
            raise InvalidRequest(
                f"{method[:200]} before initialize: send initialize first, "
                "or the _meta keys of MCP 2026-07-28 with each request"
            )

    def _call_tool(self, id: bytes, request: Request, era: str, version: str) -> None:
        server = self.server
        name = request.text("name")
        if not server:
            tool = self.front.directory.index.get(name)
            if tool is None:
                raise InvalidParams(f"Unknown tool: {name[:200]}", {"name": name[:200]})
            request.fields["name"] = tool.own
            server = tool.server
        self._route(id, "tools/call", request, era, version, server)

    def _route(self, id: bytes, method: str, request: Request, era: str, version: str, server: str) -> None:
        release = opening.serving(self.front, server)
        token = request.check_token()
        agreed = self.agreed
        if era == LEGACY and agreed is not None:
            caps, client, level = agreed.capabilities, agreed.client, agreed.log_level
        else:
            caps, client, level = bytes(request.capabilities), bytes(request.client), request.log_level
        head = Head(
            3, 0, method, server, 0, "", self.principal, self.session, era, 0, bool(token), level, caps, client,
            request.trace,
        )  # fmt: skip
        exchange = Exchange(self, id, method, server, era, version, token, self._stamp(release))
        self.open[id] = exchange
        exchange.start(head, request.body())

    def _list_tools(self, id: bytes, request: Request, era: str) -> None:
        after = ""
        if "cursor" in request.fields:
            opened = self.front.cursors.open(self.principal, request.text("cursor"), self.clock())
            if opened is None:
                raise InvalidParams("no such cursor: list again from the start")
            after = opened.decode()
        tools, last = self.front.directory.page(after, era)
        parts = [b'{"tools":', tools]
        if last:
            cursor = self.front.cursors.seal(self.principal, last.encode(), self.clock() + CURSOR_S)
            parts.append(b',"nextCursor":"%b"' % cursor.encode())
        if era == MODERN:
            parts.append(opening.modern_tail(self.front.info, cacheable=True))
        parts.append(b"}")
        self._result(id, b"".join(parts))

    def _modern(self, id: bytes, method: str, request: Request) -> None:
        if method == "server/discover":
            self._result(id, opening.discovered(self.front, self.server))
        elif method == "subscriptions/listen":
            self._listen(id, request)
        else:
            raise MethodNotFound(f"Method not found: {method[:200]}")

    def _legacy(self, id: bytes, method: str, request: Request) -> None:
        if method == "initialize":
            self._initialize(id, request)
        elif method == "ping":
            self._result(id, b"{}")
        elif method == "logging/setLevel" and self.agreed is not None:
            level = request.text("level")
            if level not in eras.LOG_LEVELS:
                raise InvalidParams(f"no log level {level[:50]!r}; there are: {', '.join(sorted(eras.LOG_LEVELS))}")
            self.agreed.log_level = level
            self._result(id, b"{}")
        else:
            raise MethodNotFound(f"Method not found: {method[:200]}")

    def _initialize(self, id: bytes, request: Request) -> None:
        agreed = opening.agree(request)
        body = opening.initialized(self.front, self.server, agreed.version)
        self.agreed = agreed
        self._result(id, body)

    def _listen(self, id: bytes, request: Request) -> None:
        if len(self.listens) >= MAX_LISTENS:
            raise Limited(f"{MAX_LISTENS} subscriptions are open on this connection; end one first")
        asked = _fields(request.fields.get("notifications"))
        kinds = opening.listenable(self.front, self.server)
        honoured = {name: method for name, method in kinds.items() if flag(asked.get(name))}
        self.listens[id] = frozenset(honoured.values())
        self.front.conversations.add(self)
        filters = messages.to_json(dict.fromkeys(honoured, True))
        params = b'%b,"notifications":%b}' % (_subscription(id)[:-1], filters)
        self.sink.note(messages.notification("notifications/subscriptions/acknowledged", params))

    def _result(self, id: bytes, body: bytes) -> None:
        self.sink.answer(messages.result_message(id, body), 0)

    def _stamp(self, release: Release) -> bytes:
        return opening.server_info(self.front, self.server, release)

    # notifications

    def _notified(self, message: Message) -> None:
        if message.method == "notifications/cancelled":
            try:
                id = bytes(_fields(message.params).get("requestId", b""))
            except InvalidParams:
                return
            self.listens.pop(id, None)
            exchange = self.open.pop(id, None)
            if exchange is not None:
                exchange.cancel()
                exchange.conversation.sink.settled()


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def _fields(raw: Raw | None) -> dict[str, Raw]:
    if not raw:
        return {}
    try:
        return _decode_fields(raw)
    except msgspec.DecodeError:
        raise InvalidParams("an object is needed here") from None


def _subscription(id: bytes) -> bytes:
    return b'{"_meta":{"%b":%b}}' % (eras.META_SUBSCRIPTION.encode(), id)
