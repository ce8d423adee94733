"""Source trees out of a bare repository: their identity for the plan, their files for a release.

Reads git through gitpython and writes below one folder; knows nothing of environments. Called by the engine.
"""

import hashlib
import json
import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import git

from central_mcp.manifest import ResolvedServer
from central_mcp.rollout.errors import BuildError, PlanError

MAX_FILES = 20_000
MAX_BYTES = 512 << 20
"""One server's source. A tree that is larger holds data or vendored packages, which belong elsewhere."""

CONTENT_VERSION = 1
"""Counted up when the builder makes something else of the same source, so that every server is built anew."""

_LINK, _SUBMODULE, _EXECUTABLE = 0o120000, 0o160000, 0o100755


def content_hash(server: ResolvedServer, repo: git.Repo | Path, commit: str) -> str:
    """Hex digest of all that a build of `server` depends on. Equal digests: the running release can stay.

    Raises `PlanError` when the commit does not hold the server's source.
    """
    parts = {"builder": CONTENT_VERSION, "server": server.model_dump(mode="json")}
    if server.kind == "source":
        with _opened(repo) as opened:
            parts["tree"] = _tree(opened, commit, server.source, server.name).hexsha
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def export_tree(repo_git_dir: Path, commit: str, subdir: str, into: Path, *, server: str = "") -> None:
    """Write the files of `subdir` (`.`: all) at `commit` into the new folder `into`, read-only.

    Raises `PlanError` when there is no such folder, `BuildError` for what must not be deployed: submodules, links that
    leave the tree, names that a file system treats as another place, too many or too large files.
    """
    with _opened(repo_git_dir) as repo:
        tree = _tree(repo, commit, subdir, server)
        into.mkdir(parents=True)
        links = []
        for blob in _blobs(tree, server):
            path = into / posixpath.relpath(str(blob.path), str(tree.path) or ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            if blob.mode == _LINK:
                links.append((path, os.fsdecode(blob.data_stream.read())))
            else:
                _write(path, blob)
    for path, target in links:  # last, so that no file is written through one
        path.symlink_to(target)
    for path, target in links:
        _check_link(path, target, into, server)


@contextmanager
def _opened(repo: git.Repo | Path) -> Iterator[git.Repo]:
    """The repository; one that is opened here is closed here, with the git process behind it."""
    if isinstance(repo, git.Repo):
        yield repo
        return
    with git.Repo(repo) as opened:
        yield opened


def _tree(repo: git.Repo, commit: str, subdir: str, server: str) -> git.Tree:
    try:
        root = repo.commit(commit).tree
        found = root if subdir == "." else root.join(subdir)
    except KeyError:
        found = None
    except (git.BadName, ValueError, git.GitCommandError) as exc:
        raise PlanError(f"commit {commit[:7]} is not in {repo.git_dir}", server=server) from exc
    if not isinstance(found, git.Tree):
        raise PlanError(
            f"source ./{subdir} is not a folder of commit {commit[:7]}",
            server=server,
            hint="is it committed? Names are case-sensitive",
        )
    return found


def _blobs(tree: git.Tree, server: str) -> Iterator[git.Blob]:
    """Its files and links, while they are few and small enough and have harmless names."""
    count = size = 0
    for item in tree.traverse():
        if not isinstance(item, (git.Tree, git.Blob)) or item.mode == _SUBMODULE:
            what = f"{getattr(item, 'path', item)} is a submodule, which a push does not bring along"
            raise _refused(what, server, "add its files to the repository, or use a package")
        if posixpath.basename(str(item.path)).lower() in (".git", "..", "."):
            raise _refused(f"{item.path} is a name that git itself uses", server, "rename it")
        if isinstance(item, git.Tree):
            continue
        count, size = count + 1, size + item.size
        if count > MAX_FILES or size > MAX_BYTES:
            what = f"the source has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB"
            raise _refused(what, server, "keep data and installed packages out of the repository")
        yield item


def _write(path: Path, blob: git.Blob) -> None:
    mode = 0o555 if blob.mode == _EXECUTABLE else 0o444
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)) as file:
        shutil.copyfileobj(blob.data_stream, file)


def _check_link(path: Path, target: str, into: Path, server: str) -> None:
    """A link must end inside the tree, through whatever other links it leads."""
    try:
        inside = not os.path.isabs(target) and path.resolve().is_relative_to(into.resolve())
    except (OSError, RuntimeError):  # a loop
        inside = False
    if not inside:
        name = path.relative_to(into)
        raise _refused(f"the link {name} -> {target} does not end inside the server's source", server, "make it a file")


def _refused(what: str, server: str, hint: str) -> BuildError:
    return BuildError(what, server=server, stage="source", hint=hint)
