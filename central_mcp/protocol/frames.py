"""The frames between coordinator (or engine) and router: a length, a small msgpack head, a raw JSON body.

Pure: bytes in, frames out; no socket, no clock. Bodies are never decoded here. Layout of one frame, big-endian:

    u32 length of what follows | u16 length of head | head (msgpack array) | body (raw JSON bytes, may be empty)

Used by `central_mcp.link` (client end) and `central_mcp.router` (server end).
"""

from collections.abc import Iterator
from enum import IntEnum

import msgspec

VERSION = 1
MAX_FRAME = 24 << 20
"""Bytes. Above the largest message the front accepts (16 MiB), so the front's own limit answers first."""
MAX_HEAD = (1 << 16) - 1
_PREFIX = 6


class FrameError(Exception):
    """The peer sent bytes that are not a frame, or a frame over `MAX_FRAME`. The link cannot go on."""


class Kind(IntEnum):
    HELLO = 1  # client -> router, first frame: head.method = "coordinator" | "engine", head.id = VERSION
    WELCOME = 2  # router -> client: head.instance, head.id = credit (calls that may be open on this link)
    CALL = 3  # client -> router: one request
    RESULT = 4  # router -> client: body is the JSON-RPC `result`
    ERROR = 5  # router -> client: body is the JSON-RPC `error` object
    NOTE = 6  # router -> client: a notification; head.id = its call, head.method, body = params
    CANCEL = 7  # client -> router: head.id; no answer is owed afterwards, a late one is dropped
    END = 8  # client -> router: client session (head.principal, head.session) is over: its own processes may end
    CHANGED = 9  # router -> client: head.server's lists changed (head.method names the notification)
    CONTROL = (
        10  # engine -> router: head.method = probe | reload | drain | status, body = arguments; RESULT/ERROR follow
    )


class Head(msgspec.Struct, array_like=True, frozen=False):
    """What the router must know of a frame without reading its body."""

    kind: int
    id: int = 0
    """Call id, unique per link, chosen by the client end."""
    method: str = ""
    server: str = ""
    release: int = 0
    """0: whichever release serves. Only the engine may name one (a staged release at the gate)."""
    instance: str = ""
    """Router instance, `main#1`; empty: any."""
    principal: str = ""
    """`PROJECT/key-id` of the caller."""
    session: str = ""
    """The client session (CLIENT_ID plus connection or sealed session), for `sessions: per-client`."""
    era: str = ""
    """CALL: the front's era. RESULT: the back's era (`legacy` | `modern`)."""
    deadline: int = 0
    """Milliseconds from arrival after which the router answers 50400; 0: the server's own `limits.call`."""
    progress: bool = False
    """The caller gave a progressToken (kept by the coordinator): send `notifications/progress` as NOTE."""
    log_level: str = ""
    """The caller's logLevel; empty: no `notifications/message`."""
    caps: bytes = b""
    """The caller's ClientCapabilities, raw JSON; empty: `{}`."""
    client: bytes = b""
    """The caller's clientInfo, raw JSON; empty: none."""
    trace: str = ""
    """W3C traceparent of the call, or empty."""


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode


def encode(head: Head, body: bytes = b"") -> bytes:
    """One frame as bytes. Raises `FrameError` when it would be over `MAX_FRAME`, or its head over `MAX_HEAD`."""
    packed = _encode_head(head)
    if len(packed) > MAX_HEAD:
        raise FrameError(f"frame head of {len(packed)} bytes is over the limit of {MAX_HEAD}")
    size = 2 + len(packed) + len(body)
    if size > MAX_FRAME:
        raise FrameError(f"frame of {size} bytes is over the limit of {MAX_FRAME}")
    return b"%b%b%b%b" % (size.to_bytes(4, "big"), len(packed).to_bytes(2, "big"), packed, body)


class Decoder:
    """Incremental decoder: feed bytes as they come, iterate over whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Head, bytes]]:
        """Yield every (head, body) that is complete now. Raises `FrameError` on bytes that are no frame."""
        buffer = self._buffer
        buffer += data
        at = 0
        end = len(buffer)
        try:
            while end - at >= _PREFIX:
                size = int.from_bytes(buffer[at : at + 4], "big")
                if size > MAX_FRAME or size < 3:
                    raise FrameError(f"frame of {size} bytes; allowed are 3 to {MAX_FRAME}")
                if end - at < 4 + size:
                    break
                cut = at + _PREFIX + int.from_bytes(buffer[at + 4 : at + 6], "big")
                stop = at + 4 + size
                if cut > stop:
                    raise FrameError("the head is longer than its frame")
                try:
                    head = _decode_head(buffer[at + _PREFIX : cut])
                except msgspec.DecodeError as exc:
                    raise FrameError(f"unreadable head: {exc}") from exc
                body = bytes(buffer[cut:stop])
                at = stop
                yield head, body
        finally:
            del buffer[:at]
