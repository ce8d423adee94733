"""One call under way: from its frame to the one answer its client gets.

Made by a conversation; called back by the link. Adapts results and notes to the client's era.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from central_mcp.protocol import eras, messages
from central_mcp.protocol.errors import InternalError, InvalidParams, OutcomeUnknown, ProtocolError, Unavailable
from central_mcp.protocol.frames import Head, Kind
from central_mcp.protocol.results import adapt

if TYPE_CHECKING:
    from .conversation import Conversation

_LEGACY_NOT_FOUND = -32002
_RESULT = int(Kind.RESULT)
_LOST = (OutcomeUnknown.code, Unavailable.code)


class _Error(msgspec.Struct, omit_defaults=True):
    code: int = InternalError.code
    message: str = ""
    data: Any = None


_decode_error = msgspec.json.Decoder(_Error).decode


class Exchange:
    """The state of one routed request."""

    __slots__ = ("call", "conversation", "era", "id", "method", "over", "server", "since", "stamp", "token", "version")

    def __init__(
        self,
        conversation: "Conversation",
        id: bytes,
        method: str,
        server: str,
        era: str,
        version: str,
        token: bytes,
        stamp: bytes,
    ) -> None:
        self.conversation = conversation
        self.id = id
        self.method = method
        self.server = server
        self.era = era
        self.version = version
        self.token = token
        self.stamp = stamp
        self.call = 0
        self.over = False
        self.since = conversation.clock()

    def start(self, head: Head, body: bytes) -> None:
        front = self.conversation.front
        self.call = front.link.call(head, body, self.done)
        if (head.progress or head.log_level) and not self.over:
            front.exchanges[self.call] = self

    def done(self, head: Head, body: bytes) -> None:
        """The RESULT or ERROR frame: answer the client."""
        conversation = self.conversation
        front = conversation.front
        self.over = True
        front.exchanges.pop(self.call, None)
        code = 0
        if head.kind == _RESULT:
            try:
                if not body.isascii():
                    _check_text(body)
                body = adapt(body, self.method, self.era, self.version, head.era, self.stamp)
                message = messages.result_message(self.id, body)
            except ProtocolError as exc:
                code = exc.code
                message = messages.error_message(self.id, exc.body())
        else:
            code, body = _adapt_error(body, self.era, self.server)
            message = messages.error_message(self.id, body)
        front.metrics.called(self.server, conversation.clock() - self.since, code != 0)
        if conversation.open.pop(self.id, None) is self:
            conversation.sink.answer(message, code)
            conversation.sink.settled()

    def note(self, method: str, params: bytes) -> None:
        """A notification that belongs to this call."""
        if method == "notifications/progress":
            if not self.token:
                return
            rest = params[1:] if params[1:2] != b"}" else b"}"
            comma = b"," if rest != b"}" else b""
            params = b'{"progressToken":%b%b%b' % (self.token, comma, rest)
        self.conversation.sink.note(messages.notification(method, params))

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        front = self.conversation.front
        self.over = True
        front.exchanges.pop(self.call, None)
        front.link.cancel(self.call)

    def abandon(self) -> None:
        """Nobody listens any more, but the call may finish."""
        self.conversation.front.exchanges.pop(self.call, None)


def _check_text(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise InternalError(f"the server's result is not UTF-8: {exc.reason} at byte {exc.start}") from None


def _adapt_error(body: bytes, era: str, server: str) -> tuple[int, bytes]:
    """The error's code and the error itself for this era's client. What the link says of a lost router names nobody."""
    try:
        error = _decode_error(body)
    except msgspec.DecodeError:
        broken = InternalError("the server answered with an error that cannot be read")
        return broken.code, broken.body()
    if era == eras.MODERN and error.code == _LEGACY_NOT_FOUND:
        return InvalidParams.code, InvalidParams(error.message, error.data).body()
    if error.code in _LOST and server and server not in error.message:
        error.message = f"server {server}: {error.message}"
        return error.code, msgspec.json.encode(error)
    return error.code, body
