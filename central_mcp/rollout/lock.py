"""The lock of a server: every package with version and hash. The project's own, or one that we make and keep.

Writes only below the work folder it is given. `environment` calls it and stores the result in the release.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from central_mcp.manifest import ResolvedServer
from central_mcp.rollout.tools import Tools, identity

Kind = Literal["python", "node"]
_MARK = "central"
_HEADER = re.compile(rb"# central: ([0-9a-f]{64})\n")
_COMPILE = ("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
            "--no-emit-find-links", "--no-emit-build-options")  # fmt: skip
_NPM = ("--ignore-scripts", "--no-audit", "--no-fund")


@dataclass(frozen=True)
class Lock:
    """A lock and what it is for."""

    kind: Kind
    body: bytes
    """requirements.txt with hashes, or package-lock.json; if made here it names the digest of what it was made from."""
    manifest: bytes = b""
    """package.json that belongs to it; npm wants both."""

    @property
    def name(self) -> str:
        return "txt" if self.kind == "python" else "json"


def kind_of(server: ResolvedServer, source: Path | None) -> Kind:
    """Which kind of environment the server runs in."""
    if server.kind != "source" or source is None:
        return "node" if server.kind == "npm" else "python"
    program = server.run[0]
    if program in ("node", "{node}") or program.endswith((".js", ".mjs", ".cjs")):
        return "node"
    if program in ("python", "python3", "{python}") or program.endswith(".py"):
        return "python"
    python = any(
        (source / name).exists() for name in ("pyproject.toml", "requirements.txt", "requirements.in", "uv.lock")
    )
    return "node" if (source / "package.json").exists() and not python else "python"


def make_lock(server: ResolvedServer, source: Path | None, previous: bytes | None, work: Path, tools: Tools) -> Lock:
    """The project's lock, or `previous` when it was made from the same wishes, or a new one. Raises `BuildError`."""
    if kind_of(server, source) == "node":
        return _node_lock(server, source, previous, work, tools)
    return _python_lock(server, source, previous, work, tools)


# Python


def _python_lock(server: ResolvedServer, source: Path | None, previous: bytes | None, work: Path, tools: Tools) -> Lock:
    if source:
        given = _given_python(source, work, tools)
        if given is not None:
            return Lock("python", given)
    wishes = _python_wishes(server, source)
    if wishes is None:
        return Lock("python", b"")
    name, text = wishes
    made_from = digest("python", name, text, identity(tools.python, "python"), str(server.scripts))
    found = _HEADER.match(previous or b"")
    includes = re.search(rb"^\s*-", text, re.MULTILINE)  # -r and -c: files that the digest does not cover
    if previous and found and found[1].decode() == made_from and not includes:
        return Lock("python", previous)
    wishes_file = (source or work) / name
    if source is None:
        wishes_file.write_bytes(text)
    only = () if server.scripts else ("--only-binary", ":all:")
    tools.uv(
        "lock", [*_COMPILE, *only, "--python", str(tools.python), str(wishes_file), "--output-file", "lock.txt"], work
    )
    return Lock("python", f"# central: {made_from}\n".encode() + (work / "lock.txt").read_bytes())


def _given_python(source: Path, work: Path, tools: Tools) -> bytes | None:
    """requirements.txt with hashes, else what uv.lock says, else None."""
    requirements = source / "requirements.txt"
    if requirements.exists() and b"--hash=" in requirements.read_bytes():
        return requirements.read_bytes()
    if not (source / "uv.lock").exists() or not (source / "pyproject.toml").exists():
        return None
    for name in ("uv.lock", "pyproject.toml"):
        shutil.copyfile(source / name, work / name)
    export = ["export", "--quiet", "--frozen", "--no-emit-project", "--no-dev", "--no-header", "--no-annotate"]
    tools.uv("lock", [*export, "--python", str(tools.python), "--output-file", "lock.txt"], work)
    return (work / "lock.txt").read_bytes()


def _python_wishes(server: ResolvedServer, source: Path | None) -> tuple[str, bytes] | None:
    """File name and text to compile a lock from; None: nothing is needed."""
    if source is None:
        return "requirements.in", "\n".join([server.requirement, *server.pins, ""]).encode()
    for name in ("requirements.in", "requirements.txt", "pyproject.toml"):
        if (source / name).exists():
            return name, (source / name).read_bytes()
    return None


# Node


def _node_lock(server: ResolvedServer, source: Path | None, previous: bytes | None, work: Path, tools: Tools) -> Lock:
    if source and not (source / "package.json").exists():
        return Lock("node", b"")
    wishes = (source / "package.json").read_bytes() if source else _package_json(server)
    if source and (source / "package-lock.json").exists():
        return Lock("node", (source / "package-lock.json").read_bytes(), wishes)
    made_from = digest("node", wishes, identity(tools.node, "node"))
    if previous and _node_mark(previous) == made_from:
        return Lock("node", previous, wishes)
    (work / "package.json").write_bytes(wishes)
    tools.npm("lock", ["install", "--package-lock-only", "--omit-lockfile-registry-resolved", *_NPM], work)
    lock: dict[str, Any] = json.loads((work / "package-lock.json").read_bytes())
    return Lock("node", json.dumps({_MARK: made_from, **lock}, indent=1).encode(), wishes)


def _package_json(server: ResolvedServer) -> bytes:
    wishes = {
        "name": "environment",
        "version": "0.0.0",
        "private": True,
        "dependencies": {server.package: server.version},
    }
    return json.dumps(wishes, indent=1).encode()


def _node_mark(lock: bytes) -> str:
    try:
        found = json.loads(lock)
    except ValueError:
        return ""
    return str(found.get(_MARK, "")) if isinstance(found, dict) else ""


def digest(*parts: str | bytes) -> str:
    """Hex digest that tells ("a", "bc") from ("ab", "c")."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big") + raw)
    return state.hexdigest()
