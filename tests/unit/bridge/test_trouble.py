"""Every way a connection can fail has a cause and a next step in words."""

import errno
import socket
import ssl

import pytest

from central_bridge.trouble import from_exception, from_status


def tls_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "cause", "hint"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection refused", "central status"),
        (OSError("Multiple exceptions: [Errno 111] x, [Errno 111] y"), "connection refused", "central status"),
        (socket.gaierror(-2, "Name or service not known"), "name vm is not known (DNS", "VPN"),
        (TimeoutError(), "vm does not answer", "firewall"),
        (tls_error(), "certificate of vm is not trusted (self-signed", "CENTRAL_MCP_CA"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "TLS failed", "ws://"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable", "CENTRAL_MCP_URL"),
        (ConnectionResetError(), "closed before it was answered", "wss://"),
        (ValueError("odd"), "handshake failed (odd)", "central-mcp"),
    ],
)
def test_exceptions(error: BaseException, cause: str, hint: str):
    found = from_exception(error, "vm")
    assert cause in found.cause
    assert hint in found.hint
    assert not found.final


@pytest.mark.parametrize(
    ("status", "code", "final", "hint"),
    [
        (401, 40100, True, "central key create demo"),
        (403, 40300, True, "PROJECT_NAME (demo)"),
        (404, 50300, True, "/s/SERVER/mcp"),
        (429, 50300, False, "tries again"),
        (503, 50300, False, "tries again"),
        (200, 50300, False, "WebSockets"),
        (301, 50300, False, "WebSockets"),
    ],
)
def test_statuses(status: int, code: int, final: bool, hint: str):
    found = from_status(status, b"", "demo", "file:~/key", "/mcp")
    assert (found.code, found.final) == (code, final)
    assert hint in found.hint


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"code":40100,"message":"no key, no answer"}}', ": no key, no answer"),
        (b"plain\r\n\x1b[31mtext", ": plain [31mtext"),
        (b"<html>a page</html>", ""),
        (b"", ""),
        (b"\xff\xfe", ": \ufffd\ufffd"),
    ],
)
def test_what_the_body_says_is_quoted_in_one_clean_line(body: bytes, said: str):
    assert from_status(401, body, "p", "API_KEY", "/mcp").cause == f"the API key was refused (HTTP 401){said}"
