"""A manifest and the catalogue to servers that stand by themselves: everything a build and a start need. Pure."""

import difflib
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from central_mcp.manifest.catalogue import Entry
from central_mcp.manifest.errors import ManifestError
from central_mcp.manifest.model import Health, Limits, Manifest, Replicas, Rollout, ServerSpec
from central_mcp.manifest.rules import Package, parse_package


class ResolvedServer(BaseModel):
    """One server with every default filled in. Two equal values mean: nothing about it was changed in the manifest."""

    model_config = ConfigDict(frozen=True)

    name: str
    category: str
    description: str
    kind: Literal["pypi", "npm", "source"]
    package: str = ""
    """Name in the registry, without extras."""
    version: str = ""
    extras: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    source: str = ""
    """Folder in the repository, `.` for its root; empty for packages."""
    run: tuple[str, ...]
    """argv with placeholders; empty: the package's only program."""
    env: dict[str, str]
    transport: Literal["stdio"]
    era: Literal["auto", "legacy", "modern"]
    sessions: Literal["shared", "per-principal", "per-client"]
    start: Literal["always", "on-demand"]
    restart: Literal["on-failure", "always", "never"]
    replicas: Replicas
    limits: Limits
    listen: bool
    scripts: bool
    health: Health | None
    rollout: Rollout
    data: Literal["folder", "git"] = "folder"
    """What `{data}` is at the first start."""

    @property
    def requirement(self) -> str:
        """`name[extra]==1.0` or `@scope/name@1.0.0`; empty for a source."""
        if self.kind == "source":
            return ""
        return Package(self.kind, self.package, self.version, self.extras).requirement


def resolve(manifest: Manifest, catalogue: Mapping[str, Entry]) -> dict[str, ResolvedServer]:
    """Servers by the name they have in the cloud (`as:` done). Raises `ManifestError` for entries that do not exist."""
    problems = []
    servers = {}
    for key, spec in manifest.servers.items():
        entry = None
        if spec.use is not None:
            entry = catalogue.get(spec.use)
            if entry is None:
                close = difflib.get_close_matches(spec.use, list(catalogue), 1)
                hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(catalogue)}"
                where = ("servers", key, "use")
                problems += manifest.error(where, f"{spec.use!r} is not in the catalogue", hint).problems
                continue
        name = spec.as_ or key
        servers[name] = _resolve(name, spec, entry)
    if problems:
        raise ManifestError(problems)
    return servers


def _resolve(name: str, spec: ServerSpec, entry: Entry | None) -> ResolvedServer:
    package = parse_package(entry.package if entry else spec.package) if entry or spec.package else None  # type: ignore[arg-type]
    written = spec.model_fields_set
    return ResolvedServer(
        name=name,
        category=spec.category or (entry.category if entry else ""),
        description=spec.description or (entry.description if entry else ""),
        kind=package.kind if package else "source",
        package=package.name if package else "",
        version=package.version if package else "",
        extras=package.extras if package else (),
        pins=(*(entry.pins if entry else ()), *spec.pins),
        source=spec.source or "",
        run=spec.run or (entry.run if entry else None) or (),
        env={**(entry.env if entry else {}), **spec.env},
        transport=spec.transport,
        era=spec.era,
        sessions=spec.sessions or (entry.sessions if entry else "per-principal"),
        start=spec.start,
        restart=spec.restart,
        replicas=spec.replicas,
        limits=_limits(spec, entry),
        listen=spec.listen,
        scripts=spec.scripts if "scripts" in written or not entry else entry.scripts,
        health=spec.health or (entry.health if entry else None),
        rollout=spec.rollout,
        data=entry.data if entry else "folder",
    )


def _limits(spec: ServerSpec, entry: Entry | None) -> Limits:
    """The entry's limits, with those that the manifest names itself on top."""
    if entry is None:
        return spec.limits
    return entry.limits.model_copy(update={key: getattr(spec.limits, key) for key in spec.limits.model_fields_set})
