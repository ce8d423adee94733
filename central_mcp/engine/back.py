"""The engine's view of the router: probe and call a staged release, acknowledge a snapshot, drain, read counters.

A thin shell over `link.Redial`; nothing here decides anything.
"""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from ..link import Redial
from ..protocol.errors import ProtocolError
from ..protocol.frames import Head
from ..rollout.gate import MAX_PAGES
from ..rollout.watch import Reading

RELOAD_S = 10.0
"""Seconds the router may take to say that it uses a new snapshot; also covers its restart."""
CONTROL_S = 5.0
PRINCIPAL = "central/engine"
"""Whose calls the gate's are; no key can have a project of this name's form (`/` is kept for it)."""


class BackError(Exception):
    """The router or a server behind it answered with an error, or not at all; `str()` is the cause in one line."""


@dataclass(frozen=True)
class Probe:
    """What the router found when it opened a staged release."""

    eras: tuple[str, ...]
    capabilities: dict[str, Any]
    server_info: dict[str, Any]
    instructions: str
    seconds: float


class Back:
    def __init__(self, link: Redial) -> None:
        self._link = link

    @property
    def up(self) -> bool:
        return self._link.up

    async def probe(self, server: str, release: int, deadline_s: float) -> Probe:
        """Open the staged release and negotiate. Raises `BackError`."""
        arguments = {
            "server": server,
            "release": release,
            "deadline_ms": int(deadline_s * 1000),
            "principal": PRINCIPAL,
            "session": _session(server, release),
        }
        found = await self._control("probe", arguments, deadline_s + CONTROL_S)
        return Probe(
            eras=tuple(found.get("eras") or ()),
            capabilities=found.get("capabilities") or {},
            server_info=found.get("serverInfo") or {},
            instructions=found.get("instructions") or "",
            seconds=float(found.get("seconds") or 0.0),
        )

    async def tools(self, server: str, release: int, era: str, deadline_s: float) -> Any:
        """All pages of tools/list of one release, as the server sent them. Raises `BackError`."""
        tools: list[Any] = []
        cursor = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = await self.call(server, release, era, "tools/list", {"cursor": cursor} if cursor else {}, deadline_s)
            if not isinstance(page, dict) or not isinstance(page.get("tools"), list):
                raise BackError("tools/list answered with no list of tools")
            tools += page["tools"]
            cursor = page.get("nextCursor")
            if not cursor:
                return tools
            if not isinstance(cursor, str) or cursor in seen:
                raise BackError("tools/list gave the same cursor twice: its pages never end")
            seen.add(cursor)
        raise BackError(f"tools/list has more than {MAX_PAGES} pages")

    async def call(
        self, server: str, release: int, era: str, method: str, params: dict[str, Any], deadline_s: float
    ) -> Any:
        """One call to one release, staged or not; the decoded result. Raises `BackError`."""
        head = Head(
            0,
            method=method,
            server=server,
            release=release,
            principal=PRINCIPAL,
            session=_session(server, release),
            era=era,
            deadline=int(deadline_s * 1000),
            caps=b"{}",
        )
        body = await self._within(self._link.ask(head, json.dumps(params).encode()), deadline_s + CONTROL_S, method)
        try:
            return json.loads(body)
        except ValueError as exc:
            raise BackError(f"{method} answered with what is not JSON: {exc}") from exc

    def end(self, server: str, release: int) -> None:
        """The gate's own session with a release is over: its process may go."""
        self._link.end(PRINCIPAL, _session(server, release))

    async def reload(self, version: int) -> None:
        """Return once the router uses snapshot `version` or a later one. Raises `BackError`."""
        await self._control("reload", {"version": version}, RELOAD_S)

    async def drain(self, server: str, release: int, timeout_s: float) -> int:
        """Return when no call of the release is open and its processes are closed; how many calls were cut off."""
        arguments = {"server": server, "release": release, "timeout_ms": int(timeout_s * 1000)}
        answer = await self._control("drain", arguments, timeout_s + CONTROL_S)
        return int(answer.get("open") or 0)

    async def warm(self, server: str, release: int) -> None:
        """Open what `start: always` promises, before the first call needs it. Raises `BackError`."""
        await self._control("warm", {"server": server, "release": release}, RELOAD_S)

    async def status(self) -> dict[str, Any]:
        """The router's counters as it gives them. Raises `BackError`."""
        return dict(await self._control("status", {}, CONTROL_S))

    async def readings(self) -> dict[tuple[str, int], Reading]:
        """Counters per server-release. Raises `BackError`."""
        status = await self.status()
        return {
            (entry["server"], int(entry["release"])): Reading.of(entry)
            for entry in _entries(status.get("servers") or {})
        }

    async def _control(self, method: str, arguments: dict[str, Any], within_s: float) -> Any:
        return await self._within(self._link.control(method, arguments), within_s, method)

    async def _within(self, answer: Awaitable[Any], within_s: float, what: str) -> Any:
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError as exc:
            raise BackError(f"no answer to {what} within {within_s:.0f} s") from exc
        except ProtocolError as exc:
            raise BackError(exc.message) from exc


def _session(server: str, release: int) -> str:
    return f"gate-{server}-{release}"


def _entries(servers: Any) -> list[dict[str, Any]]:
    """The router's per server-release entries: a list, or an object keyed `server@release`."""
    if isinstance(servers, list):
        return servers
    found = []
    for name, entry in servers.items():
        server, _, release = name.rpartition("@")
        found.append({"server": server, "release": release, **entry})
    return found
