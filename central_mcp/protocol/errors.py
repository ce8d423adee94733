"""Every error the data plane answers with: one class, one JSON-RPC code, one HTTP status.

Pure. The gateway's own codes lie outside -32768..-32000, which JSON-RPC and MCP reserve (MCP 2026-07-28, error codes).

    ProtocolError
    +-- ParseError -32700/400          +-- MethodNotFound -32601/404    +-- HeaderMismatch -32020/400
    +-- InvalidRequest -32600/400      +-- InvalidParams -32602/400     +-- UnsupportedVersion -32022/400
    +-- InternalError -32603/500       +-- MissingCapability -32021/400
    +-- Unauthorized 40100/401         +-- Limited 42900/429            +-- Unavailable 50300/503
    +-- TimedOut 50400/504             +-- OutcomeUnknown 50900/502
"""

from typing import Any

import msgspec


class ProtocolError(Exception):
    """An answer in the shape of a JSON-RPC error. `str()` is the message a person reads."""

    code = -32603
    status = 500

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def body(self) -> bytes:
        """The JSON-RPC `error` object as raw JSON."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return msgspec.json.encode(error)


class ParseError(ProtocolError):
    code, status = -32700, 400


class InvalidRequest(ProtocolError):
    code, status = -32600, 400


class InvalidParams(ProtocolError):
    code, status = -32602, 400


class MethodNotFound(ProtocolError):
    code, status = -32601, 404


class InternalError(ProtocolError):
    code, status = -32603, 500


class HeaderMismatch(ProtocolError):
    code, status = -32020, 400


class MissingCapability(ProtocolError):
    code, status = -32021, 400


class UnsupportedVersion(ProtocolError):
    code, status = -32022, 400


class Unauthorized(ProtocolError):
    code, status = 40100, 401


class Limited(ProtocolError):
    code, status = 42900, 429


class Unavailable(ProtocolError):
    code, status = 50300, 503


class TimedOut(ProtocolError):
    code, status = 50400, 504


class OutcomeUnknown(ProtocolError):
    code, status = 50900, 502
