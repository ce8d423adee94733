"""The registry snapshot: what the data plane knows of the cloud. One immutable value, one version.

Pure data (msgspec, because 1000 servers must decode in milliseconds). Written by the engine alone (`registry.write`),
read by coordinators and routers (`registry.read`, `registry.watch`). Tool lists lie beside it, see `registry.tools`.
"""

from typing import Any, Literal

import msgspec

State = Literal["staged", "serving", "draining"]
Era = Literal["legacy", "modern"]
FORMAT = 1


class Replica(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one release of a server can be reached: a runner's socket on a node."""

    address: str
    """URL: `unix:/run/central/s/0123456789ab.sock`. One connection is one process of the server."""
    node: str = "local"


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release of one server, as the data plane must treat it."""

    release: int
    state: State
    replica: Replica
    transport: Literal["stdio", "http"] = "stdio"
    eras: tuple[Era, ...] = ()
    """Eras the gate found; empty before the gate (the router then finds out)."""
    tools: str = ""
    """Name of `registry/tools/<sha>.json`; empty before the gate."""
    capabilities: dict[str, Any] = {}
    server_info: dict[str, Any] = {}
    instructions: str = ""
    sessions: Literal["shared", "per-principal", "per-client"] = "per-principal"
    start: Literal["always", "on-demand"] = "on-demand"
    restart: Literal["on-failure", "always", "never"] = "on-failure"
    replicas_min: int = 1
    replicas_max: int = 1
    max_sessions: int = 50
    """Processes of this release that may exist at once."""
    call_s: float = 60.0
    idle_s: float = 600.0
    grace_s: float = 5.0
    """Seconds a process has to end after its connection is closed, before the runner kills its group."""


class Server(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    project: str
    category: str
    port: int
    listen: bool = False
    """True: the loopback alias 127.0.0.1:port answers as `/s/<name>/mcp`."""
    description: str = ""
    releases: tuple[Release, ...] = ()

    @property
    def serving(self) -> Release | None:
        return next((r for r in self.releases if r.state == "serving"), None)

    def release(self, number: int) -> Release | None:
        return next((r for r in self.releases if r.release == number), None)


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """An API key `cmk_<id>_<secret>`; the secret has 256 random bits, so one SHA-256 is enough."""

    id: str
    sha256: str
    """Hex SHA-256 of the whole key text."""
    project: str
    name: str = ""
    created: float = 0.0


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    format: int = FORMAT
    written: float = 0.0
    """Unix time."""
    servers: dict[str, Server] = {}
    keys: dict[str, Key] = {}
    projects: dict[str, int] = {}
    """Project name -> its serving release."""
