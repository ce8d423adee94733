"""The bare repository of a project: made, read, and its branch moved by compare-and-swap.

The only place that runs git for the engine. Hooks read with `hook_pre`. Every git process gets a clean environment: the
engine may be started by anything, and a `GIT_*` of a pusher must never reach it.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import git

from ..home import Home
from ..rollout.errors import PlanError, SwitchError

NO_COMMIT = "0" * 40
MANIFEST = "central.yml"
MAX_MANIFEST = 1 << 20
"""Bytes of central.yml."""
COMMIT = re.compile(r"[0-9a-f]{40}")
GIT_S = 30.0
"""Seconds that one git command may take; the largest only moves a ref."""


def clean_env() -> dict[str, str]:
    """The environment of every program that the engine starts: none of the caller's `GIT_*`, locale or secrets."""
    return {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


@dataclass(frozen=True)
class Commit:
    id: str
    subject: str
    author: str


@dataclass(frozen=True)
class Repository:
    """`git/<project>.git` of one home."""

    home: Home
    project: str
    work: git.Repo | None = None
    """A work tree to read from instead, for `central plan`."""

    @property
    def path(self) -> Path:
        return self.home.git / f"{self.project}.git"

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.home.settings.branch}"

    @cached_property
    def repo(self) -> git.Repo:
        """Read access with gitpython. Raises `PlanError` when there is no repository."""
        if self.work is not None:
            return self.work
        try:
            return git.Repo(self.path)
        except (git.NoSuchPathError, git.InvalidGitRepositoryError) as exc:
            raise PlanError(
                f"project {self.project} has no repository", hint=f"central project create {self.project}"
            ) from exc

    def create(self) -> bool:
        """Make it, or bring the configuration of one that exists up to date. True when it is new.

        Raises `SwitchError`.
        """
        new = not self.path.exists()
        if new:
            making = self.path.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            self._git("init", "-q", "--bare", "-b", self.home.settings.branch, "--template=", str(making))
            making.rename(self.path)
        for name, value in self._configuration().items():
            self._git("--git-dir", str(self.path), "config", name, value)
        return new

    def _configuration(self) -> dict[str, str]:
        return {
            "core.hooksPath": str(self.home.hooks),
            "core.logAllRefUpdates": "true",
            "receive.procReceiveRefs": self.ref,
            "receive.advertisePushOptions": "true",
            "transfer.fsckObjects": "true",
            "transfer.hideRefs": "refs/releases",
            "gc.autoDetach": "true",  # a pusher never waits for it
            "gc.pruneExpire": "2.weeks.ago",
        }

    def head(self) -> str:
        """Where the branch points; forty zeros before the first push."""
        found = self._git("--git-dir", str(self.path), "rev-parse", "-q", "--verify", self.ref, check=False)
        return found.stdout.strip() or NO_COMMIT

    def move(self, new: str, old: str) -> None:
        """Compare-and-swap of the branch. Raises `SwitchError` when it is not at `old` any more."""
        done = self._git("--git-dir", str(self.path), "update-ref", self.ref, new, old, check=False)
        if done.returncode:
            raise SwitchError(
                f"{self.ref} is not at {old[:7]} any more, so it was not moved to {new[:7]}",
                log_tail=done.stderr.splitlines()[-3:],
                hint="fetch, look at what is there now, and push again",
            )

    def remove_branch(self, old: str) -> None:
        """Back to no branch at all (the first release of a project was reverted). Raises `SwitchError`."""
        done = self._git("--git-dir", str(self.path), "update-ref", "-d", self.ref, old, check=False)
        if done.returncode:
            raise SwitchError(f"{self.ref} is not at {old[:7]} any more, so it was not removed")

    def keep(self, release: int, commit: str) -> None:
        """Keep the commit of a release from git's own tidying, as long as the release can be rolled back to."""
        self._git("--git-dir", str(self.path), "update-ref", f"refs/releases/v{release}", commit)

    def forget(self, release: int) -> None:
        self._git("--git-dir", str(self.path), "update-ref", "-d", f"refs/releases/v{release}", check=False)

    def commit(self, name: str) -> Commit:
        """Full id, subject and author of a commit-ish. Raises `PlanError`."""
        if name.startswith("-"):
            raise PlanError(f"{name!r} is no commit", hint="name a commit, a branch or a tag")
        try:
            found = self.repo.commit(name)
        except (git.BadName, git.GitError, ValueError, IndexError) as exc:
            raise PlanError(
                f"commit {name} is not in {self.project}'s repository",
                hint="push the branch that has it; other branches are stored without being deployed",
            ) from exc
        else:
            subject = str(found.summary).encode("utf-8", "replace").decode()
            return Commit(found.hexsha, _printable(subject), _printable(found.author.name or ""))
        finally:
            self.rest()

    def manifest(self, commit: str) -> bytes:
        """central.yml of a commit. Raises `PlanError`."""
        try:
            blob = self.repo.commit(commit).tree / MANIFEST
        except KeyError as exc:
            raise PlanError(f"the commit has no {MANIFEST} at its root", hint="`central init` writes one") from exc
        if blob.type != "blob" or blob.mode == 0o120000:
            raise PlanError(f"{MANIFEST} is no regular file in the commit", hint="commit it as a file")
        if blob.size > MAX_MANIFEST:
            raise PlanError(
                f"{MANIFEST} has {blob.size} bytes; at most {MAX_MANIFEST} are read", hint="make it smaller"
            )
        return bytes(blob.data_stream.read())

    def rest(self) -> None:
        """End the git processes that gitpython keeps for reading; else they live until the garbage collector comes."""
        if "repo" in self.__dict__:
            self.repo.git.clear_cache()

    def _git(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Raises `SwitchError` when git cannot be run, is not done in time or, with `check`, fails."""
        try:
            return subprocess.run(
                ["git", *args],
                env=clean_env(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=GIT_S,
                check=check,
                cwd=self.home.git,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            said = exc.stderr if isinstance(exc, subprocess.CalledProcessError) else ""
            raise SwitchError(
                f"git could not work on {self.path.name}: {exc}",
                log_tail=(said or "").splitlines()[-3:],
                hint="is the disk full? `central doctor` tells",
            ) from exc


def _printable(text: str) -> str:
    """Nothing that could drive a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
