"""The working data of a server: a folder that outlives releases, in the state that its first start needs.

A name may pass from one project to another, its data never does. Called by the builder; a second call changes nothing.
"""

from pathlib import Path

import git

from central_mcp.home import Home
from central_mcp.manifest import ResolvedServer

_README = """\
This repository belongs to the server "{name}". Its tools read and change it; push to it or add remotes as you like.
"""


def folder_of(home: Home, project: str, server: str) -> Path:
    """Where the data of a server of `project` lies, whether it is there or not."""
    return home.data / project / server


def prepare(server: ResolvedServer, folder: Path) -> None:
    """Make its `folder` if it is not there; where the server needs one, as a git repository with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    if server.data == "git":
        _repository(folder, server.name)


def _repository(folder: Path, name: str) -> None:
    """Its first commit is what makes it one: whoever was stopped before that begins again."""
    exists = (folder / ".git" / "HEAD").exists()
    with git.Repo(folder) if exists else git.Repo.init(folder, initial_branch="main") as repo:
        if repo.head.is_valid():
            return
        with repo.config_writer() as config:  # a commit needs an author: the server's own, in this repository alone
            config.set_value("user", "name", f"{name} (central-mcp)")
            config.set_value("user", "email", f"{name}@central.invalid")
        readme = folder / "README.md"
        if not readme.exists():
            readme.write_text(_README.format(name=name))
        repo.index.add(["README.md"])
        repo.index.commit("A repository to work in")
