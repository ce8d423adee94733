"""One JSON-RPC message: bytes to a `Message`, and answers back to bytes. Pure; params stay raw.

Called for each message a front receives, so one partial decode and no copies beyond it. Ids keep their JSON type: they
are raw bytes from here on (7 and "7" differ).
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from .errors import InvalidRequest, ParseError, ProtocolError

NO_ID: Final = b"null"
_ABSENT: Final = Raw()
_LINE_BREAKS: Final = bytes.maketrans(b"\n\r", b"  ")


class Malformed(Exception):
    """What came is no JSON-RPC message; `error` is the answer and `id` (raw) whom it goes to."""

    def __init__(self, error: ProtocolError, id: bytes = NO_ID) -> None:
        super().__init__(str(error))
        self.error = error
        self.id = id


class Message(msgspec.Struct, gc=False):
    """A request (`method` and `id`), a notification (`method` only) or a response (`id` only)."""

    jsonrpc: str = ""
    method: str = ""
    id: Raw = _ABSENT
    params: Raw = _ABSENT
    result: Raw = _ABSENT
    error: Raw = _ABSENT


class _Id(msgspec.Struct, gc=False):
    id: Raw = _ABSENT


_decode = msgspec.json.Decoder(Message).decode
_decode_id = msgspec.json.Decoder(_Id).decode


def parse(data: bytes) -> Message:
    """One message. Raises `Malformed`.

    Line breaks outside strings are whitespace to JSON but the end of a message to a server's stdio, so they become
    spaces here: nobody can slip a second message through a pretty-printed first one.
    """
    if b"\n" in data or b"\r" in data:
        data = data.translate(_LINE_BREAKS)
    try:
        if not data.isascii():
            data.decode()
        message = _decode(data)
    except msgspec.ValidationError as exc:
        raise Malformed(InvalidRequest(_why_invalid(data, exc)), _find_id(data)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(ParseError(f"not JSON: {exc}")) from None
    raw = message.id
    if raw is not _ABSENT and not _is_id(bytes(raw)):
        raise Malformed(InvalidRequest("id must be a string or an integer"))
    if message.jsonrpc != "2.0":
        raise Malformed(InvalidRequest('"jsonrpc" must be "2.0"'), id_of(message))
    if message.params is not _ABSENT and bytes(message.params)[:1] != b"{":
        raise Malformed(InvalidRequest("params must be an object"), id_of(message))
    if not message.method and (raw is _ABSENT or (message.result is _ABSENT and message.error is _ABSENT)):
        raise Malformed(InvalidRequest("neither a request, a notification nor a response"), id_of(message))
    return message


def id_of(message: Message) -> bytes:
    """The id as raw JSON; `null` when there is none."""
    return bytes(message.id) or NO_ID


def has_id(message: Message) -> bool:
    return message.id is not _ABSENT


def params_of(message: Message) -> bytes:
    """The params as raw JSON, `{}` when there are none."""
    return bytes(message.params) or b"{}"


def result_message(id: bytes, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, result)


def error_message(id: bytes, error: bytes) -> bytes:
    """`error`: the JSON-RPC error object as raw JSON (`ProtocolError.body()`)."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id, error)


def notification(method: str, params: bytes = b"") -> bytes:
    if params:
        return b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), params)
    return b'{"jsonrpc":"2.0","method":"%b"}' % method.encode()


def to_json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _is_id(raw: bytes) -> bool:
    return raw[0] == 0x22 or raw.lstrip(b"-").isdigit()


def _find_id(data: bytes) -> bytes:
    try:
        raw = bytes(_decode_id(data).id)
    except msgspec.DecodeError:
        return NO_ID
    return raw if raw and _is_id(raw) else NO_ID


def _why_invalid(data: bytes, exc: Exception) -> str:
    if data.lstrip()[:1] == b"[":
        return "batches are not supported: send one message at a time"
    return f"not a JSON-RPC message: {exc}"
