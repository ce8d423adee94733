"""Turns what went wrong with a connection into words: cause, next step, and whether waiting helps.

Pure. Called by `wire` and `dial`.
"""

import errno
import json
import socket
import ssl

from .answers import REFUSED_KEY, REFUSED_PROJECT, UNAVAILABLE, Trouble

_NOT_THERE = "Check HOST and port in CENTRAL_MCP_URL, and that the VM and central-mcp are up (`central status` there)."
_SCHEME = "Does CENTRAL_MCP_URL lead to a central-mcp, and is ws:// (plain) or wss:// (TLS) right for its port?"
_TRUST = "Put the VM's CA certificate (PEM) into CENTRAL_MCP_CA, and check that HOST is the certificate's name."


def from_exception(error: BaseException, host: str) -> Trouble:
    """Why no connection could be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(f"TLS: the certificate of {host} is not trusted ({error.verify_message})", _TRUST)
    if isinstance(error, ssl.SSLError):
        return Trouble(f"TLS failed ({getattr(error, 'reason', None) or error})", _SCHEME)
    if isinstance(error, socket.gaierror):
        hint = "Check HOST in CENTRAL_MCP_URL, and the network (is the VPN up?)."
        return Trouble(f"the name {host} is not known (DNS: {error.strerror})", hint)
    if isinstance(error, TimeoutError):
        return Trouble(f"{host} does not answer", f"{_NOT_THERE} A firewall may drop the connection.")
    if isinstance(error, ConnectionRefusedError) or _refused(error):
        return Trouble("connection refused", _NOT_THERE)
    if isinstance(error, ConnectionError):
        return Trouble("the connection was closed before it was answered", _SCHEME)
    if isinstance(error, OSError):
        return Trouble(f"cannot connect ({error.strerror or error})", _NOT_THERE)
    return Trouble(f"the WebSocket handshake failed ({error})", _SCHEME)


def from_status(status: int, body: bytes, project: str, key_source: str, path: str) -> Trouble:
    """Why the coordinator (or what stands before it) refused the upgrade."""
    said = _said(body)
    more = f": {said}" if said else ""
    if status == 401:
        hint = (
            f"Make a new one on the VM with `central key create {project}` and put it where API_KEY comes from"
            f" ({key_source})."
        )
        return Trouble(f"the API key was refused (HTTP 401){more}", hint, REFUSED_KEY, final=True)
    if status == 403:
        hint = f"Is PROJECT_NAME ({project}) the project that the key was made for? `central key list` on the VM tells."
        return Trouble(f"access was refused (HTTP 403){more}", hint, REFUSED_PROJECT, final=True)
    if status == 404:
        hint = "Use /mcp for all servers, or /s/SERVER/mcp with the name of a server that `central status` lists."
        return Trouble(f"there is nothing at {path} (HTTP 404){more}", hint, final=True)
    if status in (429, 502, 503, 504):
        hint = "It is starting, busy or being replaced; the bridge tries again by itself."
        return Trouble(f"it is not available now (HTTP {status}){more}", hint)
    hint = "Does CENTRAL_MCP_URL lead to a central-mcp, and does every proxy on the way let WebSockets through?"
    return Trouble(f"it did not accept a WebSocket (HTTP {status}){more}", hint, UNAVAILABLE)


def _refused(error: BaseException) -> bool:
    """asyncio sums up several addresses in one OSError without a type."""
    text = str(error)
    return f"[Errno {errno.ECONNREFUSED}]" in text or "[WinError 1225]" in text or "[WinError 10061]" in text


def _said(body: bytes) -> str:
    """The message in an error body, made fit for one line."""
    text = body[:2000].decode("utf-8", "replace")
    try:
        found = json.loads(text)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = error.get("message", "") if isinstance(error, dict) else str(error)
    except ValueError:
        if "<" in text:
            return ""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return text[:200]
