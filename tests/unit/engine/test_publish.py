"""One commit publishes state.db and snapshot together: all or nothing, also on a full disk."""

import errno
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from central_mcp import registry
from central_mcp.engine.publish import Publisher, PublishError
from central_mcp.engine.state import ServerRelease, State, StateError
from central_mcp.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for folder in ("etc", "registry", "run", "log/servers"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {"run": str(tmp_path / "run"), "playbooks": str(tmp_path)}
    (tmp_path / "etc" / "settings.json").write_text(json.dumps(settings))
    return Home(tmp_path)


@pytest.fixture
def state(home: Home) -> Iterator[State]:
    opened = State(home.state)
    yield opened
    opened.close()


def row(state: str = "serving") -> ServerRelease:
    route = {
        "category": "api",
        "port": 3200,
        "listen": False,
        "description": "",
        "sessions": "shared",
        "tool_count": 3,
        "eras": ["legacy"],
    }
    return ServerRelease("a", 1, "P", "0" * 12, "hash", state, 1, route, {"folder": "/x", "env_dir": ""})  # type: ignore[arg-type]


def test_a_commit_shows_in_the_snapshot(home: Home, state: State) -> None:
    publisher = Publisher(home, state)
    version = publisher.commit(lambda: state.add_server_release(row()))
    snapshot = registry.read(home.registry)
    assert snapshot.version == version == 1
    serving = snapshot.servers["a"].serving
    assert serving is not None
    assert (serving.release, serving.sessions, serving.eras) == (1, "shared", ("legacy",))
    assert serving.replica.address == f"unix:{home.run}/s/{'0' * 12}.sock"
    assert publisher.commit() == 2


def test_a_snapshot_that_cannot_be_written_leaves_state_and_snapshot_as_they_were(
    home: Home, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(home, state)
    publisher.commit()

    def full(*_: object) -> AbstractContextManager[None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "writing", full)
        with pytest.raises(PublishError, match="No space left"):
            publisher.commit(lambda: state.add_server_release(row()))
    assert state.server_releases() == []
    assert registry.read(home.registry).version == 1
    assert publisher.commit() == 2


def test_a_state_that_cannot_be_committed_leaves_the_snapshot_as_it_was(
    home: Home, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(home, state)
    publisher.commit()

    def refuse() -> None:
        raise StateError("state.db: database or disk is full")

    monkeypatch.setattr(state, "commit", refuse)
    with pytest.raises(PublishError, match="full"):
        publisher.commit(lambda: state.add_server_release(row()))
    assert registry.read(home.registry).version == 1
    assert list(home.registry.glob(".*")) == []
    assert state.server_releases() == []


def test_a_version_that_readers_have_seen_is_never_given_again(home: Home, state: State) -> None:
    with writing(home, 41):
        pass
    publisher = Publisher(home, state)
    publisher.read_version()
    assert publisher.commit() == 42


@contextmanager
def writing(home: Home, version: int) -> Iterator[None]:
    registry.write(home.registry, registry.Snapshot(version=version))
    yield


def test_what_a_killed_writer_left_is_removed_and_nothing_else(home: Home, state: State) -> None:
    publisher = Publisher(home, state)
    publisher.commit(lambda: state.add_server_release(row()))
    tools = registry.write_tools(home.registry, [{"name": "echo"}])
    (home.etc / "runner").mkdir()
    kept = {path for path in home.root.rglob("*") if path.is_file()}
    left = [home.registry / ".snapshot.json.a1b2c3d4", home.registry / "tools" / f".{tools}.json.a1b2_3d4"]
    left.append(home.etc / "runner" / f".{'0' * 12}.json.abcdefgh")
    for path in left:
        path.write_text("{")
    assert sorted(publisher.remove_unfinished()) == sorted(path.name for path in left)
    assert {path for path in home.root.rglob("*") if path.is_file()} == kept
    assert publisher.remove_unfinished() == []
