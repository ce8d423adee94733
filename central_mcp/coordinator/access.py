"""Who may come in: Host, Origin, key, project. Decides, sends nothing; http.py and ws.py ask before anything else.

Pure but for the SHA-256. Source: MCP 2026-07-28 transports (DNS rebinding), RFC 6454, RFC 9110.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from central_mcp.protocol.errors import ProtocolError, Unauthorized
from central_mcp.registry import Key

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_NOBODY = Key(id="", sha256="0" * 64, project="")
MAX_CLIENT = 128
"""Characters of X-Central-Client that are used; the rest is cut."""


class Forbidden(ProtocolError):
    """Come in nobody may this way: a foreign Host or Origin, or a key of another project."""

    code, status = 40300, 403


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a valid key stands for."""

    key: str
    """The key's id."""
    project: str
    client: str
    """X-Central-Client, unverified; empty: none."""

    @property
    def principal(self) -> str:
        return f"{self.project}/{self.key}"


class Access:
    """The rules of one coordinator."""

    def __init__(self, host: str, allowed_hosts: Iterable[str] = ()) -> None:
        """`host`: the address listened on. Beyond loopback, any literal address passes: rebinding needs a name."""
        self._names = _LOOPBACK | {host.lower()} | {name.lower() for name in allowed_hosts}
        self._any_address = not is_loopback(host)
        if self._any_address:
            self._names |= {socket.gethostname().lower()}
        self._keys: Mapping[str, Key] = {}

    def update(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys

    def knows(self, key: str) -> bool:
        """False once a key is revoked."""
        return key in self._keys

    def check_way(self, hosts: list[str], origins: list[str]) -> None:
        """All Host and Origin headers of a request. Raises `Forbidden`."""
        if len(hosts) != 1 or not self._is_ours(host_of(hosts[0])):
            named = hosts[0][:100] if len(hosts) == 1 else f"{len(hosts)} Host headers"
            raise Forbidden(
                f"this coordinator does not answer to the host {named!r}; add it to allowed_hosts in etc/settings.json"
            )
        if not origins:
            return
        if len(origins) != 1 or not self._is_our_origin(origins[0]):
            raise Forbidden("requests from this Origin are not allowed")

    def identify(self, authorization: list[str], api_key: list[str], project: str, client: str) -> Caller:
        """The caller of a request by its key headers. Raises `Unauthorized`, `Forbidden` (project is another's)."""
        text = _presented(authorization, api_key)
        parts = text.split("_", 2)
        known = self._keys.get(parts[1], _NOBODY) if len(parts) == 3 and parts[0] == "cmk" else _NOBODY
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        if not hmac.compare_digest(digest, known.sha256) or known is _NOBODY:
            raise Unauthorized(
                "no valid key: send one by Authorization: Bearer or X-API-Key (`central key create` makes one)"
            )
        if project and project != known.project:
            raise Forbidden(
                f"this key belongs to project {known.project!r}, not to {project[:100]!r}: "
                f"correct PROJECT_NAME, or use a key of that project"
            )
        return Caller(known.id, known.project, client[:MAX_CLIENT])

    def _is_ours(self, host: str) -> bool:
        return host in self._names or (self._any_address and _is_address(host)) or _is_loopback_address(host)

    def _is_our_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
            host = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.path or parts.query:
            return False
        return self._is_ours(host)


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets; empty when it is malformed."""
    header = header.strip().lower()
    if header.startswith("["):
        name, closed, port = header[1:].partition("]")
        return name if closed and (not port or (port[0] == ":" and port[1:].isdigit())) else ""
    name, colon, port = header.partition(":")
    if colon and not port.isdigit():
        return ""
    return name.removesuffix(".") if "@" not in name and "/" not in name else ""


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK or _is_loopback_address(host)


def _presented(authorization: list[str], api_key: list[str]) -> str:
    if len(authorization) == 1:
        scheme, _, text = authorization[0].partition(" ")
        return text.strip() if scheme.lower() == "bearer" else ""
    return api_key[0].strip() if len(api_key) == 1 and not authorization else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
