"""/health, /ready and /metrics: what is up, what is not ready, what was counted. Starlette; names only to insiders.

/health and /ready are open. Server names, and /metrics, are for callers with a key and for loopback peers.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from central_mcp import __version__
from central_mcp.protocol.errors import ProtocolError, Unauthorized

from .access import is_loopback
from .aliases import Aliases
from .front import Front


def pages(front: Front, aliases: Aliases, cloud: str) -> Starlette:
    """The ASGI app for everything that is not MCP."""

    async def health(request: Request) -> Response:
        entries = front.directory.entries.values()
        serving = sum(entry.release is not None for entry in entries)
        targets = {"servers": len(entries), "serving": serving, "router": front.link.up}
        body: dict[str, Any] = {"status": "ok", "version": __version__, "targets": targets, "cloud": cloud}
        return JSONResponse(body)

    async def ready(request: Request) -> Response:
        named = _is_insider(front, request)
        waits = _not_ready(front, aliases, named=named)
        broken = [wait for wait in waits if wait["fatal"]]
        body = {
            "ready": not broken,
            "process": front.metrics.process,
            "snapshot": front.snapshot.version,
            "not_ready": [{key: value for key, value in wait.items() if key != "fatal"} for wait in waits],
        }
        return JSONResponse(body, status_code=503 if broken else 200)

    async def metrics(request: Request) -> Response:
        if not _is_insider(front, request):
            front.metrics.refused += 1
            error = Unauthorized("metrics need a key, or a caller on this machine")
            return Response(error.body(), 401, {"WWW-Authenticate": "Bearer"}, "application/json")
        return Response(front.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/ready", ready, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )


def _not_ready(front: Front, aliases: Aliases, *, named: bool) -> list[dict[str, Any]]:
    """What is missing. `fatal`: no call can work; the rest concerns single servers."""
    waits: list[dict[str, Any]] = []
    if not front.link.up:
        waits.append({"what": "router", "why": "no link to the router", "fatal": True})
    if front.snapshot.version == 0:
        waits.append({"what": "snapshot", "why": "nothing has been deployed yet", "fatal": True})
    entries = front.directory.entries.values()
    idle = [entry.server.name for entry in entries if entry.release is None]
    if idle:
        waits.append(_of_servers("servers", "no release serves", idle, named))
    unlisted = [entry.server.name for entry in entries if entry.problem]
    if unlisted:
        waits.append(_of_servers("tools", "their tool lists cannot be read", unlisted, named))
    if aliases.problems:
        ports: dict[str, Any] = {
            "what": "ports",
            "why": f"{len(aliases.problems)} cannot be listened on",
            "fatal": False,
        }
        if named:
            ports["ports"] = {str(port): why for port, why in aliases.problems.items()}
        waits.append(ports)
    return waits


def _of_servers(what: str, why: str, servers: list[str], named: bool) -> dict[str, Any]:
    wait: dict[str, Any] = {"what": what, "why": why, "count": len(servers), "fatal": False}
    if named:
        wait["servers"] = sorted(servers)
    return wait


def _is_insider(front: Front, request: Request) -> bool:
    if request.client is not None and is_loopback(request.client.host):
        return True  # behind a proxy on this machine the client is whom X-Forwarded-For names, see server.py
    headers = request.headers
    try:
        front.access.identify(headers.getlist("authorization"), headers.getlist("x-api-key"), "", "")
    except ProtocolError:
        return False
    return True
