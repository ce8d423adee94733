"""pre-receive: cheap refusals, while git still keeps the pushed objects in quarantine.

Reads git through gitpython with the environment that git gave (GIT_QUARANTINE_PATH, GIT_OBJECT_DIRECTORY). Starts
nothing, writes nothing. The rules about names are pure functions below.
"""

import json
import posixpath
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import git

from .told import Teller

NONE = "0" * 40
REFS = ("refs/heads/", "refs/tags/")
SHOWN = 10
LINK, SUBMODULE = "120000", "160000"
MAX_PATH = 1024
"""Bytes of one path."""


@dataclass(frozen=True)
class Entry:
    """One file of a pushed tree."""

    mode: str
    id: str
    size: int
    path: str


def main(home: Path) -> int:
    settings = json.loads((home / "etc" / "settings.json").read_bytes())
    branch, limit = f"refs/heads/{settings.get('branch', 'main')}", int(settings.get("max_push", 100 << 20))
    teller = Teller(sys.stderr)
    with git.Repo(".") as repo:
        problems = list(refusals(repo, sys.stdin, branch, limit))
    for problem in problems[:SHOWN]:
        teller.line(f"refused: {problem}")
    if len(problems) > SHOWN:
        teller.line(f"and {len(problems) - SHOWN} more")
    return 1 if problems else 0


def refusals(repo: git.Repo, lines: Iterable[str], branch: str, limit: int) -> Iterator[str]:
    """Why the pushed refs (`old new ref` a line) must not be stored."""
    for line in lines:
        _, new, ref = line.rstrip("\n").split(" ", 2)
        if problem := ref_problem(ref, new, branch):
            yield problem
        elif new != NONE:
            yield from (f"{ref}: {problem}" for problem in tree_problems(repo, new, limit))


def ref_problem(ref: str, new: str, branch: str) -> str:
    """Pure. Why this ref must not be changed like this, or empty."""
    if not ref.startswith(REFS):
        return f"{ref} is neither a branch nor a tag"
    if ref == branch and new == NONE:
        return f"{ref} is what deploys and cannot be deleted; to stop its servers, push a central.yml without them"
    return ""


def tree_problems(repo: git.Repo, commit: str, limit: int) -> Iterator[str]:
    for entry in _entries(repo.git.ls_tree("-r", "-z", "-l", "--full-tree", commit)):
        if problem := entry_problem(entry, limit):
            yield problem
        elif entry.mode == LINK:
            target = repo.git.cat_file("blob", entry.id, strip_newline_in_stdout=False)
            if leaves(entry.path, target):
                yield f"{entry.path!r} is a link to {target[:80]!r}, which leaves the repository; commit the file"


def _entries(listing: str) -> Iterator[Entry]:
    for record in listing.split("\0"):
        if record:
            facts, path = record.split("\t", 1)
            mode, _, identity, size = facts.split()
            yield Entry(mode, identity, 0 if size == "-" else int(size), path)


def entry_problem(entry: Entry, limit: int) -> str:
    """Pure. Why this file must not be stored, or empty."""
    if entry.mode == SUBMODULE:
        return f"{entry.path!r} is a submodule; commit its files, or name it as a package"
    if entry.size > limit:
        return f"{entry.path!r} has {entry.size >> 20} MiB; one file may have {limit >> 20} (setting max_push)"
    if problem := path_problem(entry.path):
        return f"{entry.path!r} {problem}"
    return ""


def path_problem(path: str) -> str:
    """Pure. What is wrong with a path, or empty."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "is no path inside the repository"
    if any(part.rstrip(" .").lower() in (".git", "git~1") for part in parts):
        return "is named like git's own folder"
    if any(not c.isprintable() for c in path):
        return "has a control character or what is no UTF-8 in its name"
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    return ""


def leaves(path: str, target: str) -> bool:
    """Pure. True when a link at `path` points out of the tree."""
    if target.startswith("/") or "\0" in target:
        return True
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return whole == ".." or whole.startswith("../")
