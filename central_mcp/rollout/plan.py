"""What a commit would change: per server new, changed, unchanged or removed; who owns a name; which port it gets.

Pure: no disk, no clock. The engine gathers the facts (`engine.planning`), everything that decides is here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["new", "changed", "unchanged", "removed"]


@dataclass(frozen=True)
class Wanted:
    """One server as the commit declares it."""

    name: str
    category: str
    content_hash: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Part -> digest (`source`, `manifest`, `lock`): lets a change say what changed. May be empty."""


@dataclass(frozen=True)
class Serving:
    """One server of the project as it serves now."""

    name: str
    release: int
    content_hash: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    """What was built for it is still on the disk."""


@dataclass(frozen=True)
class Registered:
    """A name that the cloud knows: its owner ("" if nobody) and the port that it keeps for ever."""

    name: str
    owner: str
    category: str
    port: int


@dataclass(frozen=True)
class Change:
    server: str
    change: Kind
    why: str
    category: str
    port: int
    release: int
    """The server-release that will serve (a removed one: the one that served)."""

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """Why a server cannot be deployed like this."""

    server: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.server}: {self.what}. {self.hint}"


@dataclass(frozen=True)
class Plan:
    release: int
    """The number that this release of the project gets (the serving one if nothing changes)."""
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def unchanged(self) -> bool:
        return all(change.change == "unchanged" for change in self.changes)

    @property
    def staged(self) -> tuple[Change, ...]:
        """What has to be built, started and gated."""
        return tuple(c for c in self.changes if c.change in ("new", "changed"))

    @property
    def replaces(self) -> bool:
        """True when something that served is replaced or taken away, so that a watch can compare."""
        return any(c.change in ("changed", "removed") for c in self.changes)


def make(
    project: str,
    wanted: Iterable[Wanted],
    serving: Iterable[Serving],
    registered: Mapping[str, Registered],
    *,
    number: int,
    serving_release: int,
    ranges: Mapping[str, range],
) -> Plan:
    """Compare. `number`: what a new release would be called; `ranges`: category -> its ports."""
    before = {s.name: s for s in serving}
    ports = {r.port for r in registered.values()}
    changes: list[Change] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for want in wanted:
        seen.add(want.name)
        known = registered.get(want.name)
        if known is not None and known.owner not in ("", project):
            problems.append(_taken(want.name, known.owner))
            continue
        port = _port(want, known, ports, ranges)
        if port is None:
            problems.append(_no_port(want, ranges))
            continue
        ports.add(port)
        changes.append(_change(want, before.get(want.name), port, number))
    for old in sorted(before.values(), key=lambda s: s.name):
        if old.name not in seen:
            known = registered[old.name]
            why = "no longer in central.yml"
            changes.append(Change(old.name, "removed", why, known.category, known.port, old.release))
    quiet = not problems and all(c.change == "unchanged" for c in changes)
    return Plan(serving_release if quiet else number, tuple(changes), tuple(problems))


def _change(want: Wanted, old: Serving | None, port: int, number: int) -> Change:
    if old is None:
        return Change(want.name, "new", "first release of this server", want.category, port, number)
    if old.content_hash == want.content_hash and old.whole:
        return Change(want.name, "unchanged", "", want.category, port, old.release)
    why = _why(want, old) if old.whole else "its build is gone from the disk"
    return Change(want.name, "changed", why, want.category, port, number)


def _why(want: Wanted, old: Serving) -> str:
    parts = sorted(part for part in {*want.reasons, *old.reasons} if want.reasons.get(part) != old.reasons.get(part))
    if parts:
        return f"{', '.join(parts)} changed"
    return "its content changed"


def _taken(name: str, owner: str) -> Problem:
    return Problem(
        name,
        f"the name belongs to project {owner}, which had it first",
        "Rename the server, or take a `use:` under another name with `as:`",
    )


def _no_port(want: Wanted, ranges: Mapping[str, range]) -> Problem:
    ports = ranges[want.category]
    return Problem(
        want.name,
        f"category {want.category} has no free port left ({ports.start}-{ports.stop - 1})",
        "Choose another category",
    )


def _port(want: Wanted, known: Registered | None, taken: set[int], ranges: Mapping[str, range]) -> int | None:
    """The name's own port for ever, while it stays in its category; else the lowest free one."""
    if known is not None and known.category == want.category:
        return known.port
    return next((port for port in ranges[want.category] if port not in taken), None)
