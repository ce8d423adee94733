"""Sources come out of a bare repository as they were committed, and nothing leaves their folder."""

import os
import stat
from pathlib import Path

import git
import pytest

from central_mcp.manifest import Catalogue, ResolvedServer, load, resolve
from central_mcp.rollout.errors import BuildError, PlanError
from central_mcp.rollout.source import content_hash, export_tree


class Upstream:
    """A work tree and the bare repository that it is pushed to."""

    def __init__(self, folder: Path) -> None:
        self.work = git.Repo.init(folder / "work", initial_branch="main")
        self.bare = folder / "bare.git"
        git.Repo.init(self.bare, bare=True).close()
        self.root = folder / "work"

    def commit(self, **files: str | None) -> str:
        """Write (None: remove) files, `__` in a name is a slash; returns the commit in the bare repository."""
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.work.git.add("--all")
        self.work.git.execute(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "--allow-empty", "-qm", "x"]
        )
        self.work.git.push(str(self.bare), "main:main", "--force", "--quiet")
        return self.work.head.commit.hexsha


@pytest.fixture
def upstream(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Upstream(tmp_path)
    yield made
    made.work.close()


def server(extra: str = "") -> ResolvedServer:
    text = (
        "central: 1\nproject: P\nservers:\n  a: {category: api, source: ./servers/a, run: [python, x.py]"
        + extra
        + "}\n"
    )
    return resolve(load(text.encode()), Catalogue.read())["a"]


def test_files_come_out_read_only_with_their_mode_and_links(upstream: Upstream, tmp_path: Path) -> None:
    (upstream.root / "servers/a/sub").mkdir(parents=True)
    (upstream.root / "servers/a/run.sh").write_text("#!/bin/sh\n")
    (upstream.root / "servers/a/run.sh").chmod(0o755)
    (upstream.root / "servers/a/sub/link").symlink_to("../x.py")
    commit = upstream.commit(servers__a__x_py="print(1)", other="no")
    into = tmp_path / "out"
    export_tree(upstream.bare, commit, "servers/a", into)
    assert sorted(str(p.relative_to(into)) for p in into.rglob("*")) == ["run.sh", "sub", "sub/link", "x_py"]
    assert stat.S_IMODE((into / "run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE((into / "x_py").stat().st_mode) & 0o222 == 0
    assert os.readlink(into / "sub/link") == "../x.py"


def test_the_whole_repository_can_be_a_source(upstream: Upstream, tmp_path: Path) -> None:
    commit = upstream.commit(x_py="1", servers__a__y="2")
    export_tree(upstream.bare, commit, ".", tmp_path / "out")
    assert (tmp_path / "out/servers/a/y").read_text() == "2"


@pytest.mark.parametrize(
    "links",
    [
        {"l": "/etc/passwd"},
        {"l": "../../x"},
        {"l": "l"},
        {"deep/er/up": "../../", "deep/er/out": "up/../x"},  # inside by its words, outside through the other link
    ],
    ids=["absolute", "dots", "loop", "through another link"],
)
def test_a_link_that_leaves_the_source_is_refused(upstream: Upstream, tmp_path: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        path = upstream.root / "servers/a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    commit = upstream.commit()
    with pytest.raises(BuildError, match="does not end inside the server's source") as caught:
        export_tree(upstream.bare, commit, "servers/a", tmp_path / "out", server="a")
    assert (caught.value.server, caught.value.stage) == ("a", "source")


def test_a_submodule_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    commit = upstream.commit(servers__a__x="1")
    upstream.work.git.execute(["git", "update-index", "--add", "--cacheinfo", f"160000,{commit},servers/a/lib"])
    upstream.work.git.execute(["git", "-c", "user.name=t", "-c", "user.email=t@x.invalid", "commit", "-qm", "module"])
    upstream.work.git.push(str(upstream.bare), "main:main", "--quiet")
    with pytest.raises(BuildError, match="servers/a/lib is a submodule"):
        export_tree(upstream.bare, upstream.work.head.commit.hexsha, "servers/a", tmp_path / "out")


def test_a_folder_that_was_not_committed_is_told_before_anything_starts(upstream: Upstream, tmp_path: Path) -> None:
    commit = upstream.commit(servers__b="a file")
    for folder in ("servers/a", "servers/b"):
        with pytest.raises(PlanError, match=f"source ./{folder} is not a folder of commit {commit[:7]}"):
            export_tree(upstream.bare, commit, folder, tmp_path / "out")
    with pytest.raises(PlanError, match="is not a folder of commit"):
        content_hash(server(), upstream.bare, commit)
    with pytest.raises(PlanError, match="commit 0000000 is not in"):
        content_hash(server(), upstream.bare, "0" * 40)
    assert not (tmp_path / "out").exists()


def test_the_content_hash_changes_with_source_and_manifest_and_nothing_else(upstream: Upstream) -> None:
    first = upstream.commit(servers__a__x="1", README="r")
    before = content_hash(server(), upstream.bare, first)
    elsewhere = upstream.commit(README="s", servers__b__x="2")
    assert content_hash(server(), upstream.bare, elsewhere) == before
    assert content_hash(server(", env: {A: b}"), upstream.bare, elsewhere) != before
    assert content_hash(server(), upstream.bare, upstream.commit(servers__a__x="2")) != before
