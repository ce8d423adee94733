"""The `programs` role: core programs with an environment of their own, restarted when code or settings change."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_mcp.home import Home
from central_mcp.provision.home import prepare
from central_mcp.provision.programs import configure, core_programs, passed_on

CALLER = {
    "HOME": "/home/ann",
    "https_proxy": "http://proxy:8080",
    "GIT_DIR": "/x",
    "AWS_SECRET": "s",
    "UV_OFFLINE": "1",
}


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder:
        prepare(Path(folder) / "h", {"playbooks": "/nowhere", "coordinators": 3})
        yield Home(Path(folder) / "h")


def test_engine_router_and_as_many_coordinators_as_set(home: Home) -> None:
    assert {p.name: p.count for p in core_programs(home, {})} == {"engine": 1, "router": 1, "coordinator": 3}


def test_only_what_builds_need_of_the_callers_environment_is_passed_on() -> None:
    assert passed_on(CALLER) == {"HOME": "/home/ann", "UV_OFFLINE": "1", "https_proxy": "http://proxy:8080"}


def test_a_second_time_nothing_changes(home: Home) -> None:
    assert configure(home, CALLER).lines == ["configuration of supervisord"]
    outcome = configure(home, CALLER)
    assert (outcome.changed, outcome.result()["diff"]) == (False, [])


def test_check_mode_writes_nothing(home: Home) -> None:
    outcome = configure(home, CALLER, check=True)
    assert outcome.changed
    assert "[program:router]" in outcome.result()["diff"][0]["after"]
    assert list((home.etc / "programs").iterdir()) == []
    assert not (home.etc / "supervisord.conf").exists()


def test_a_changed_setting_restarts_what_reads_it(home: Home) -> None:
    configure(home, CALLER)
    prepare(home.root, {"port": 4567})
    assert configure(Home(home.root), CALLER).changed


def test_the_configuration_is_private(home: Home) -> None:
    configure(home, CALLER)
    files = [home.etc / "supervisord.conf", home.etc / "programs" / "core.conf"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
