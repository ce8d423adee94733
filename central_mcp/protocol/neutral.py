"""A request of either era to the neutral form that crosses the frames link, and the checks of the modern envelope.

Pure. The keys that say who asks and how (`_meta`'s protocol version, capabilities, client, log level, progress token)
move out of the params into a `Request`, from where the coordinator puts them into the frame's head; what is left is
the body. Other `_meta` keys stay. Called once a request: two small decodes, values stay raw.
"""

from typing import Any

import msgspec
from msgspec import Raw

from .eras import (
    ALL_VERSIONS,
    LOG_LEVELS,
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_VERSION,
    MODERN_VERSIONS,
)
from .errors import InvalidParams, UnsupportedVersion

_EMPTY = Raw()
_NEWEST = MODERN_VERSIONS[-1]
_NEWEST_RAW = b'"%b"' % _NEWEST.encode()
_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_decode_str = msgspec.json.Decoder(str).decode
MAX_META = 16 << 10
"""Bytes of a client's capabilities, and of its clientInfo: both travel in the head of a frame."""
MAX_TRACE = 256
"""Characters. A traceparent has 55; what is longer is none."""


class Request:
    """The params of one request, opened one level deep."""

    __slots__ = ("capabilities", "client", "fields", "level", "meta", "token", "version")

    def __init__(self, params: bytes) -> None:
        """Raises `InvalidParams` when `_meta` is no object."""
        fields = self.fields = _open(params)
        self.meta: dict[str, Raw] = {}
        self.version = self.token = self.level = self.client = self.capabilities = _EMPTY
        raw = fields.get("_meta")
        if raw is None:
            return
        try:
            meta = self.meta = _decode(raw)
        except msgspec.DecodeError:
            raise InvalidParams("params._meta must be an object") from None
        take = meta.pop
        self.version = take(META_VERSION, _EMPTY)
        self.capabilities = take(META_CAPABILITIES, _EMPTY)
        self.client = take(META_CLIENT, _EMPTY)
        self.level = take(META_LOG_LEVEL, _EMPTY)
        self.token = take("progressToken", _EMPTY)
        if meta:
            fields["_meta"] = Raw(_encode(meta))
        else:
            del fields["_meta"]

    @property
    def modern(self) -> bool:
        """True when the request carries its protocol version: the modern era's mark."""
        return self.version is not _EMPTY or self.capabilities is not _EMPTY

    @property
    def log_level(self) -> str:
        """Raises `InvalidParams` on a level that does not exist."""
        if self.level is _EMPTY:
            return ""
        level: Any = msgspec.json.decode(self.level)
        if not isinstance(level, str) or level not in LOG_LEVELS:
            raise InvalidParams(f"no log level {level!r}; there are: {', '.join(sorted(LOG_LEVELS))}")
        return level

    @property
    def trace(self) -> str:
        """The caller's W3C traceparent, or empty."""
        text = self._string(self.meta.get("traceparent"))
        return text if len(text) <= MAX_TRACE else ""

    def check_present(self) -> str:
        """The modern version that the envelope names, supported or not. Raises `InvalidParams` (a key is missing)."""
        if self.version is _EMPTY or self.capabilities is _EMPTY:
            missing = META_VERSION if self.version is _EMPTY else META_CAPABILITIES
            raise InvalidParams(f"params._meta lacks {missing}")
        raw = bytes(self.version)
        version: Any = _NEWEST if raw == _NEWEST_RAW else msgspec.json.decode(raw)
        if not isinstance(version, str):
            raise InvalidParams(f"{META_VERSION} must be a string")
        return version

    def check_envelope(self) -> str:
        """The supported version asked for. Raises `InvalidParams`, `UnsupportedVersion`."""
        version = self.check_present()
        if bytes(self.capabilities)[:1] != b"{":
            raise InvalidParams(f"{META_CAPABILITIES} must be an object")
        if self.client is not _EMPTY and bytes(self.client)[:1] != b"{":
            raise InvalidParams(f"{META_CLIENT} must be an object")
        if len(bytes(self.capabilities)) > MAX_META or len(bytes(self.client)) > MAX_META:
            raise InvalidParams(f"{META_CAPABILITIES} and {META_CLIENT} may have {MAX_META} bytes each")
        if version not in MODERN_VERSIONS:
            raise UnsupportedVersion(
                "Unsupported protocol version", {"supported": list(ALL_VERSIONS), "requested": version}
            )
        return version

    def check_token(self) -> bytes:
        """The progress token as raw JSON, empty when none was given. Raises `InvalidParams`."""
        raw = bytes(self.token)
        if raw and raw[0] != 0x22 and not raw.lstrip(b"-").isdigit():
            raise InvalidParams("progressToken must be a string or an integer")
        return raw

    def text(self, key: str) -> str:
        """A field that must be a string. Raises `InvalidParams`."""
        raw = self.fields.get(key)
        if raw is None:
            raise InvalidParams(f"params.{key} is missing")
        try:
            return _decode_str(raw)
        except msgspec.DecodeError:
            raise InvalidParams(f"params.{key} must be a string") from None

    def body(self) -> bytes:
        """The params in neutral form."""
        return _encode(self.fields)

    @staticmethod
    def _string(raw: Raw | None) -> str:
        if raw is None or bytes(raw)[:1] != b'"':
            return ""
        return _decode_str(raw)


def flag(raw: Raw | None) -> bool:
    """A raw JSON `true`, and nothing else."""
    return raw is not None and bytes(raw) == b"true"


def _open(params: bytes) -> dict[str, Raw]:
    try:
        return _decode(params)
    except msgspec.DecodeError as exc:
        raise InvalidParams(f"params: {exc}") from None
