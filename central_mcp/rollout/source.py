"""Source trees out of a bare repository: their identity for the plan, their files for a release.

Reads git through gitpython and writes below one folder; knows nothing of environments. Called by the engine.
"""

import hashlib
import json
import os
import posixpath
from collections.abc import Iterator
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
        parts["tree"] = _tree(repo, commit, server.source, server.name).hexsha
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def export_tree(repo_git_dir: Path, commit: str, subdir: str, into: Path, *, server: str = "") -> None:
    """Write the files of `subdir` (`.`: all) at `commit` into the new folder `into`, read-only.

    Raises `PlanError` when there is no such folder, `BuildError` for what must not be deployed: submodules, links that
    leave the tree, names that a file system treats as another place, too many or too large files.
    """
    tree = _tree(repo_git_dir, commit, subdir, server)
    into.mkdir(parents=True)
    count = size = 0
    for blob in _blobs(tree, server):
        name = posixpath.relpath(str(blob.path), str(tree.path) or ".")
        count, size = count + 1, size + blob.size
        if count > MAX_FILES or size > MAX_BYTES:
            raise BuildError(
                f"the source has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                server=server,
                stage="source",
                hint="keep data and installed packages out of the repository",
            )
        _write(blob, name, into, server)


def _tree(repo: git.Repo | Path, commit: str, subdir: str, server: str) -> git.Tree:
    opened = repo if isinstance(repo, git.Repo) else git.Repo(repo)
    try:
        root = opened.commit(commit).tree
        found = root if subdir == "." else root.join(subdir)
    except KeyError:
        found = None
    except (git.BadName, ValueError, git.GitCommandError) as exc:
        raise PlanError(f"commit {commit[:7]} is not in {opened.git_dir}", server=server) from exc
    if not isinstance(found, git.Tree):
        raise PlanError(
            f"source ./{subdir} is not a folder of commit {commit[:7]}",
            server=server,
            hint="is it committed? Names are case-sensitive",
        )
    return found


def _blobs(tree: git.Tree, server: str) -> Iterator[git.Blob]:
    for item in tree.traverse():
        if not isinstance(item, (git.Tree, git.Blob)) or item.mode == _SUBMODULE:
            raise BuildError(
                f"{getattr(item, 'path', item)} is a submodule, which a push does not bring along",
                server=server,
                stage="source",
                hint="add its files to the repository, or use a package",
            )
        if posixpath.basename(str(item.path)).lower() in (".git", "..", "."):
            raise BuildError(
                f"{item.path} is a name that git itself uses", server=server, stage="source", hint="rename it"
            )
        if isinstance(item, git.Blob):
            yield item


def _write(blob: git.Blob, name: str, into: Path, server: str) -> None:
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = blob.data_stream.read()
    if blob.mode == _LINK:
        target = os.fsdecode(data)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if target.startswith("/") or place == ".." or place.startswith("../"):
            raise BuildError(
                f"the link {name} -> {target} leaves the server's source",
                server=server,
                stage="source",
                hint="make it a file",
            )
        path.symlink_to(target)
        return
    path.write_bytes(data)
    path.chmod(0o555 if blob.mode == _EXECUTABLE else 0o444)
