"""What can be called: the snapshot as the front door needs it. Names, tool lists, what changed between two snapshots.

Reads tool lists from the registry folder, only those that are new. Asked by conversations; told by the registry watch.
Imports registry and protocol only.
"""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec import Raw

from central_mcp.protocol.eras import MODERN
from central_mcp.protocol.headers import ANNOTATION, Mirrored, mirrored
from central_mcp.protocol.names import exposed_names
from central_mcp.protocol.results import legacy_tool, modern_tool
from central_mcp.registry import RegistryError, Release, Server, Snapshot, read_tools

PAGE_TOOLS = 1000
PAGE_BYTES = 2 << 20
"""A page of the aggregate's tools/list ends at whichever comes first: many clients show only the first page."""

TOOLS_CHANGED = "notifications/tools/list_changed"
PROMPTS_CHANGED = "notifications/prompts/list_changed"
RESOURCES_CHANGED = "notifications/resources/list_changed"
_OF_CAPABILITY = {"prompts": PROMPTS_CHANGED, "resources": RESOURCES_CHANGED}

log = structlog.get_logger("directory")
_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class Tool(NamedTuple):
    """One tool in the aggregate."""

    name: str
    server: str
    own: Raw
    """Its name at its server, raw JSON."""
    modern: Raw
    legacy: Raw


class Entry(NamedTuple):
    """One server."""

    server: Server
    release: Release | None
    tools: tuple[Tool, ...]
    mirrored: dict[str, tuple[Mirrored, ...]]
    """Own name -> parameters that HTTP clients mirror into headers, for the few tools that have some."""
    problem: str = ""
    """Why its tools cannot be listed, if so."""


class Change(NamedTuple):
    server: str
    method: str
    """The notification that tells of it."""


class Directory:
    """The current view. `update()` with each new snapshot."""

    def __init__(self, registry: Path) -> None:
        self._registry = registry
        self.version = 0
        self.entries: dict[str, Entry] = {}
        self.index: dict[str, Tool] = {}
        self._order: list[str] = []
        self._pages: dict[tuple[str, str], tuple[bytes, str]] = {}

    def update(self, snapshot: Snapshot) -> list[Change]:
        """Take over `snapshot`; returns what callers may want to know."""
        old = self.entries
        new = {name: self._entry(server, old.get(name)) for name, server in snapshot.servers.items()}
        self.entries = new
        self.version = snapshot.version
        changes = list(_changes(old, new))
        if any(change.method == TOOLS_CHANGED for change in changes):
            self._reindex()
        return changes

    def relist(self, server: str, listed: list[Raw]) -> None:
        """The server itself listed other tools than its release had at the gate; they hold until its next release."""
        entry = self.entries.get(server)
        if entry is None or entry.release is None:
            return
        try:
            tools = tuple(_tools(server, listed))
        except (msgspec.DecodeError, KeyError) as exc:
            log.error("tools.unreadable", server=server, release=entry.release.release, reason=repr(exc))
            return
        self.entries[server] = entry._replace(tools=tools, mirrored=_mirrored(listed))
        self._reindex()

    def _reindex(self) -> None:
        self.index = {tool.name: tool for entry in self.entries.values() for tool in entry.tools}
        self._order = sorted(self.index)
        self._pages.clear()

    def page(self, after: str, era: str) -> tuple[bytes, str]:
        """The tools whose names follow `after` as a raw JSON list, and the last name if there are more, else ""."""
        page = self._pages.get((after, era))
        if page is None:
            page = self._pages[after, era] = self._make_page(after, era)
        return page

    def mirrored(self, server: str, name: str) -> tuple[Mirrored, ...]:
        """The mirrored parameters of tool `name` as called at `server`'s endpoint, or at the aggregate ("")."""
        if not server:
            tool = self.index.get(name)
            if tool is None:
                return ()
            server, name = tool.server, msgspec.json.decode(tool.own, type=str)
        entry = self.entries.get(server)
        return entry.mirrored.get(name, ()) if entry is not None else ()

    def _make_page(self, after: str, era: str) -> tuple[bytes, str]:
        start = bisect_right(self._order, after) if after else 0
        parts: list[bytes] = []
        size = 0
        for name in self._order[start : start + PAGE_TOOLS]:
            tool = self.index[name]
            raw = bytes(tool.modern if era == MODERN else tool.legacy)
            if parts and size + len(raw) > PAGE_BYTES:
                break
            parts.append(raw)
            size += len(raw)
        end = start + len(parts)
        last = self._order[end - 1] if parts and end < len(self._order) else ""
        return b"[%b]" % b",".join(parts), last

    def _entry(self, server: Server, known: Entry | None) -> Entry:
        if known is not None and known.server == server and not known.problem:
            return known
        release = server.serving
        if release is None or not release.tools:
            return Entry(server, release, (), {})
        same = known is not None and known.release is not None and known.release.release == release.release
        if same and known is not None and known.tools:
            return Entry(server, release, known.tools, known.mirrored)
        try:
            listed = read_tools(self._registry, release.tools)
            return Entry(server, release, tuple(_tools(server.name, listed)), _mirrored(listed))
        except (RegistryError, msgspec.DecodeError, KeyError) as exc:
            log.error("tools.unreadable", server=server.name, release=release.release, reason=str(exc))
            return Entry(server, release, (), {}, f"its tool list cannot be read: {exc}")


def _tools(server: str, listed: list[Raw]) -> Iterator[Tool]:
    """The tools of one server under their names in the aggregate, else untouched."""
    by_own: dict[str, dict[str, Raw]] = {}
    for raw in listed:
        fields = _decode(raw)
        by_own[msgspec.json.decode(fields["name"], type=str)] = fields
    for name, own in exposed_names(server, by_own).items():
        fields = by_own[own]
        raw_own = fields["name"]
        renamed = Raw(_encode({**fields, "name": name}))
        yield Tool(name, server, raw_own, modern_tool(renamed), legacy_tool(renamed))


def _mirrored(listed: list[Raw]) -> dict[str, tuple[Mirrored, ...]]:
    found: dict[str, tuple[Mirrored, ...]] = {}
    for raw in listed:
        if ANNOTATION.encode() in bytes(raw):
            tool: Any = msgspec.json.decode(raw)
            found[str(tool.get("name"))] = mirrored(tool.get("inputSchema"))
    return found


def _changes(old: dict[str, Entry], new: dict[str, Entry]) -> Iterator[Change]:
    for name in old.keys() | new.keys():
        before, after = old.get(name), new.get(name)
        if before is after:
            continue
        was, now = before and before.release, after and after.release
        if (was and was.tools) != (now and now.tools) or (before and before.tools) != (after and after.tools):
            yield Change(name, TOOLS_CHANGED)
        if (was and was.release) != (now and now.release):
            held = {**(was.capabilities if was else {}), **(now.capabilities if now else {})}
            for capability, method in _OF_CAPABILITY.items():
                if capability in held:
                    yield Change(name, method)


def capabilities_of(release: Release) -> dict[str, Any]:
    """What `/s/<server>/mcp` advertises: the server's own, without what is not relayed here."""
    own = release.capabilities or {"tools": {}}
    shown: dict[str, Any] = {}
    for name in ("tools", "prompts", "resources"):
        if name in own:
            shown[name] = {"listChanged": True}  # true of any server here: a rollout may change its lists
    if "completions" in own:
        shown["completions"] = {}
    if "logging" in own and release.sessions != "shared":
        shown["logging"] = {}
    return shown
