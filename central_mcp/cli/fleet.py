"""The example fleet: its work tree under the home, and its first push.

The work tree belongs to the user from the moment it is made: nothing here overwrites it or adds a commit to it.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .cloud import CHECKOUT
from .errors import CliError

EXAMPLE = CHECKOUT / "examples" / "fleet"
IDENTITY = ("-c", "user.name=central-mcp", "-c", "user.email=central-mcp@localhost", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Output of one git command in `folder`. Raises `CliError`."""
    argv = ["git", "-C", str(folder), *IDENTITY, *arguments]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CliError(f"git {arguments[0]} in {folder}: {done.stderr.strip()}", "mend that, then make up again")
    return done.stdout.strip()


def clean_environment() -> dict[str, str]:
    """Ours without git's variables: `make up` may run inside a hook or a rebase."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def make_work_tree(folder: Path, branch: str) -> bool:
    """A repository at `folder` with the example in its first commit. False when one is there. Raises `CliError`."""
    if (folder / ".git").exists():
        return False
    unfinished = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(EXAMPLE, unfinished, ignore=shutil.ignore_patterns("__pycache__", ".venv", "node_modules"))
    git(unfinished, "init", "--quiet", f"--initial-branch={branch}")
    git(unfinished, "add", "--all")
    git(unfinished, "commit", "--quiet", "--message=The example fleet")
    try:
        unfinished.rename(folder)
    except OSError as exc:
        raise CliError(
            f"{folder}: in the way, and not a git repository ({exc.strerror})", f"move {folder} away"
        ) from exc
    return True


def set_remote(folder: Path, remote: str) -> None:
    """Make `central` of this work tree lead to `remote`."""
    names = git(folder, "remote").split()
    if "central" not in names:
        git(folder, "remote", "add", "central", remote)
    elif git(folder, "remote", "get-url", "central") != remote:
        git(folder, "remote", "set-url", "central", remote)


def push(folder: Path, branch: str, on_line: Callable[[str], None]) -> None:
    """`git push central <branch>`, its output line by line. Raises `CliError` when git says no.

    `detach`: on a first push there is no old release that a watch could revert to.
    """
    argv = ["git", "-C", str(folder), "push", "--push-option=detach", "central", f"HEAD:refs/heads/{branch}"]
    with subprocess.Popen(
        argv,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            on_line(line.rstrip())
    if child.returncode:
        raise CliError(
            f"the push of {folder} was refused (git exit {child.returncode}); the lines above say why",
            "the cloud runs; mend the cause, then make up again",
        )
