"""Environments: what a server runs in. Built once for each lock, shared by all releases that have it, read-only after.

`envs/<hash>` counts only with its `.complete`, written last: what a kill or a full disk leaves behind is removed and
built again. One file lock for each hash, freed by the kernel: two builders make one environment. Called by the engine.
"""

import compileall
import fcntl
import json
import os
import py_compile
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from central_mcp.home import Home
from central_mcp.manifest import ResolvedServer
from central_mcp.rollout import data, program
from central_mcp.rollout.errors import BuildError
from central_mcp.rollout.lock import Lock, digest, kind_of, make_lock
from central_mcp.rollout.tools import Run, Tools, identity
from central_mcp.supervise.running import run_as

BUILDER = 1
"""Counted up when the same lock must give another environment."""
COMPLETE = ".complete"


@dataclass(frozen=True)
class Built:
    """How to start one server of one release. All paths are absolute, all placeholders filled in."""

    env_dir: Path | None
    """None: it needs nothing but an interpreter."""
    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    lock: bytes | None
    lock_name: str
    """`<server>.txt` or `<server>.json`; the file is in `release_dir/locks/`."""
    reused: bool = False
    """True: the environment was there already."""
    seconds: float = 0.0


def build(
    server: ResolvedServer,
    *,
    home: Home,
    project: str,
    release_dir: Path,
    previous_lock: bytes | None,
    on_line: Callable[[str], None],
    run: Run = run_as,
) -> Built:
    """Make ready what `server` needs; its source, if it has one, is in `release_dir/<name>` already. Blocks.

    `previous_lock`: the lock of the serving release; used again as long as the wishes it was made from are the same.
    Writes the lock to `release_dir/locks/`. Raises `BuildError`.
    """
    began = time.monotonic()
    home, release_dir = Home(home.root.absolute()), release_dir.absolute()
    tools = Tools(home, server.name, on_line, run)
    source = release_dir / server.name if server.kind == "source" else None
    try:
        lock = _lock(server, source, previous_lock, release_dir, tools)
        env_dir, reused = _environment(server, lock, home, tools)
        if source and lock.kind == "python":
            _compile(source)
        elif source and env_dir:
            _link_modules(server, source, env_dir)
        folder = data.folder_of(home, project, server.name)
        place = program.Place(server, home.settings, lock.kind, env_dir, source, folder)
        argv = program.argv(place)
        cwd = source or folder
        env = program.environment(place)
        data.prepare(server, folder)
    except OSError as exc:
        cause = "the disk is full" if exc.errno == 28 else f"{exc.filename or home.root}: {exc.strerror or exc}"
        raise BuildError(
            cause, server=server.name, stage="install", hint="nothing was changed; mend it and push again"
        ) from exc
    seconds = time.monotonic() - began
    return Built(env_dir, argv, cwd, env, lock.body or None, f"{server.name}.{lock.name}", reused, seconds)


def remove_unused(home: Home, in_use: set[Path]) -> list[Path]:
    """Remove environments that no kept release needs; returns them. One that is being built is left alone."""
    removed = []
    for folder in sorted(home.envs.iterdir()) if home.envs.is_dir() else []:
        if folder.is_dir() and folder not in in_use:
            with _only_one(folder, wait=False) as mine:
                if mine and folder.exists():
                    remove(folder)
                    removed.append(folder)
    return removed


def remove(folder: Path) -> None:
    """Remove a tree whose folders may be read-only. Its `.complete` goes first, so that no half of it is ever used."""
    (folder / COMPLETE).unlink(missing_ok=True)
    for path, _folders, _files in os.walk(folder):
        os.chmod(path, 0o755)
    shutil.rmtree(folder)


def _lock(server: ResolvedServer, source: Path | None, previous: bytes | None, release_dir: Path, tools: Tools) -> Lock:
    """The lock, stored in the release."""
    locks = release_dir / "locks"
    work = locks / f".{server.name}"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    try:
        lock = make_lock(server, source, previous, work, tools)
    finally:
        shutil.rmtree(work)
    if lock.body:
        (locks / f"{server.name}.{lock.name}").write_bytes(lock.body)
    return lock


def _environment(server: ResolvedServer, lock: Lock, home: Home, tools: Tools) -> tuple[Path | None, bool]:
    """The finished environment of `lock`, and whether it was there."""
    if not lock.body:
        return None, True
    interpreter = identity(tools.python if lock.kind == "python" else tools.node, lock.kind)
    name = digest(str(BUILDER), lock.kind, interpreter, str(server.scripts), lock.body, lock.manifest)[:32]
    env_dir = home.envs / name
    home.envs.mkdir(parents=True, exist_ok=True)
    with _only_one(env_dir):
        if (env_dir / COMPLETE).exists():
            return env_dir, True
        if env_dir.exists():
            remove(env_dir)
        try:
            _install(server, lock, env_dir, tools)
            _seal(env_dir, folders=home.settings.isolation == "users")
        except BaseException:
            if env_dir.exists():
                remove(env_dir)
            raise
    return env_dir, False


@contextmanager
def _only_one(env_dir: Path, *, wait: bool = True) -> Iterator[bool]:
    """The builder's lock of one environment; yields False when `wait` is false and another has it."""
    descriptor = os.open(env_dir.parent / f".{env_dir.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _install(server: ResolvedServer, lock: Lock, env_dir: Path, tools: Tools) -> None:
    if lock.kind == "node":
        env_dir.mkdir()
        (env_dir / "package.json").write_bytes(lock.manifest)
        (env_dir / "package-lock.json").write_bytes(lock.body)
        scripts = () if server.scripts else ("--ignore-scripts",)
        tools.npm("install", ["ci", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund", *scripts], env_dir)
        return
    tools.uv(
        "install", ["venv", "--quiet", "--no-project", "--python", str(tools.python), str(env_dir)], env_dir.parent
    )
    (env_dir / "requirements.txt").write_bytes(lock.body)
    # copy: a hard link would make files of uv's shared cache read-only together with ours
    how = ["--require-hashes", "--link-mode", "copy", "--compile-bytecode", "--no-deps"]
    only = [] if server.scripts else ["--only-binary", ":all:"]
    python = str(env_dir / "bin" / "python")
    tools.uv(
        "install", ["pip", "install", "--quiet", *how, *only, "--python", python, "-r", "requirements.txt"], env_dir
    )


def _seal(env_dir: Path, *, folders: bool) -> None:
    """Make it read-only and mark it. Where all share one user, folders stay writable, so that `rm -r` works."""
    for path, names, files in os.walk(env_dir):
        for name in files:
            file = os.path.join(path, name)
            if not os.path.islink(file):
                os.chmod(file, os.stat(file).st_mode & ~0o222)
        if folders:
            for name in names:
                os.chmod(os.path.join(path, name), 0o555, follow_symlinks=True)
    marker = env_dir / f"{COMPLETE}.new"
    marker.write_text(json.dumps({"builder": BUILDER, "built": int(time.time())}))
    marker.replace(env_dir / COMPLETE)
    if folders:
        env_dir.chmod(0o555)


def _compile(source: Path) -> None:
    """Bytecode of the server's own code; files that are no Python of this version are left as they are."""
    compileall.compile_dir(source, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _link_modules(server: ResolvedServer, source: Path, env_dir: Path) -> None:
    """Node finds packages beside the code that asks for them."""
    link = source / "node_modules"
    if link.exists() or link.is_symlink():
        raise BuildError(
            "its source holds node_modules",
            server=server.name,
            stage="install",
            hint="remove that folder from the repository",
        )
    link.symlink_to(env_dir / "node_modules")


__all__ = ["Built", "build", "kind_of", "remove", "remove_unused"]
