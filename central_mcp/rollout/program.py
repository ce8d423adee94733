"""From `run:` and `env:` of a server to an argv and an environment with absolute paths.

Reads the environment's folder to find programs, writes nothing. Called by `environment`.
"""

import configparser
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from central_mcp.home import Settings
from central_mcp.manifest import ResolvedServer
from central_mcp.rollout.errors import BuildError
from central_mcp.rollout.lock import Kind
from central_mcp.rollout.tools import SYSTEM_PATH, TRUST


@dataclass(frozen=True)
class Place:
    """Where everything of one server lies."""

    server: ResolvedServer
    settings: Settings
    kind: Kind
    env_dir: Path | None
    source: Path | None
    data: Path

    @property
    def python(self) -> Path:
        return self.env_dir / "bin" / "python" if self.env_dir and self.kind == "python" else self.settings.python

    @property
    def bin(self) -> Path | None:
        if self.env_dir is None:
            return None
        return self.env_dir / "bin" if self.kind == "python" else self.env_dir / "node_modules" / ".bin"

    def error(self, cause: str, hint: str = "") -> BuildError:
        return BuildError(cause, server=self.server.name, stage="install", hint=hint)


def argv(place: Place) -> tuple[str, ...]:
    """The server's argv. Raises `BuildError` when its program is neither in the environment nor in the source."""
    run = place.server.run or (_only_program(place),)
    return (*_program(place, run[0]), *(_fill(place, part) for part in run[1:]))


def environment(place: Place) -> dict[str, str]:
    """The whole environment of the server; nothing else is inherited."""
    folders = [str(place.bin)] if place.bin else []
    if place.kind == "node" and place.settings.node:
        folders.append(str(place.settings.node.parent))
    env = {name: os.environ[name] for name in TRUST if name in os.environ}
    env |= {"PATH": ":".join([*folders, SYSTEM_PATH]), "HOME": str(place.data), "LANG": "C.UTF-8"}
    env |= {"CENTRAL_SERVER": place.server.name, "CENTRAL_DATA": str(place.data)}
    if place.kind == "python":
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # its code is read-only and compiled already
    if place.source and place.kind == "python":
        roots = [place.source / "src", place.source]
        env["PYTHONPATH"] = ":".join(str(root) for root in roots if root.is_dir())
    return env | {name: _fill(place, value) for name, value in place.server.env.items()}


def _fill(place: Place, text: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        known = {"env": place.env_dir, "source": place.source, "data": place.data, "python": place.python}
        if name == "node":
            return str(_node(place))
        if known[name] is None:
            raise place.error(f"run and env name {{{name}}}, but it has none", "remove it")
        return str(known[name])

    return re.sub(r"\{(env|source|data|python|node)\}", value, text)


def _program(place: Place, word: str) -> tuple[str, ...]:
    if word in ("python", "python3"):
        return (str(place.python),)
    if word == "node":
        return (str(_node(place)),)
    if "/" in word or "{" in word:
        filled = Path(_fill(place, word))
        path = filled if filled.is_absolute() else (place.source or place.data) / filled
        return _executable(place, path, word)
    found = place.bin / word if place.bin else None
    if found is None or not found.exists():
        names = _programs(place)
        raise place.error(f"its environment has no program {word!r}", f"it has {', '.join(names)}" if names else "")
    return _executable(place, found, word)


def _executable(place: Place, path: Path, word: str) -> tuple[str, ...]:
    """Programs of node go through our node, whatever PATH says; others start by themselves."""
    if not path.is_file():
        raise place.error(f"there is no program {word!r}", "is it committed?")
    with path.open("rb") as file:
        first = file.readline(200)
    if first.startswith(b"#!") and b"node" in first and place.kind == "node":
        return (str(_node(place)), str(path.resolve()))
    if not os.access(path, os.X_OK):
        raise place.error(
            f"{word!r} may not be executed",
            "name its interpreter, e.g. [python, ./server.py], or `git update-index --chmod=+x`",
        )
    return (str(path),)


def _node(place: Place) -> Path:
    if place.settings.node is None:
        raise place.error("this machine has no node >= 20", "run `make up` (or the provision playbook) again")
    return place.settings.node


def _only_program(place: Place) -> str:
    """The program of a package that came without `run:`."""
    names = _own_programs(place)
    short = place.server.package.rpartition("/")[2]
    if len(names) != 1 and short in names:
        return short
    if len(names) != 1:
        what = f"has the programs {', '.join(names)}" if names else "has no program"
        raise place.error(f"package {place.server.package} {what}", "say how to start it under run:")
    return names[0]


def _own_programs(place: Place) -> list[str]:
    """Programs that the package itself brings, not its dependencies."""
    assert place.env_dir is not None
    if place.kind == "node":
        manifest = json.loads((place.env_dir / "node_modules" / place.server.package / "package.json").read_bytes())
        programs = manifest.get("bin", {})
        return [place.server.package.rpartition("/")[2]] if isinstance(programs, str) else sorted(programs)
    wanted = re.sub(r"[-_.]+", "_", place.server.package).lower()
    for folder in place.env_dir.glob("lib/python*/site-packages/*.dist-info"):
        name = re.sub(r"[-_.]+", "_", folder.name.removesuffix(".dist-info").rpartition("-")[0]).lower()
        if name == wanted and (folder / "entry_points.txt").exists():
            parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
            parser.optionxform = str  # type: ignore[assignment,method-assign]
            parser.read(folder / "entry_points.txt")
            return sorted(parser["console_scripts"]) if parser.has_section("console_scripts") else []
    return []


def _programs(place: Place) -> list[str]:
    if place.bin is None or not place.bin.is_dir():
        return []
    helpers = ("python", "activate", "deactivate", "pydoc")
    return [path.name for path in sorted(place.bin.iterdir()) if not path.name.startswith(helpers)]
