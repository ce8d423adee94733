"""Hooks start with the home's own interpreter, wherever that lies."""

import subprocess
import sys
from pathlib import Path

import pytest

from central_mcp.home import Home
from central_mcp.provision import ProvisionError
from central_mcp.provision.home import prepare
from central_mcp.provision.hooks import NAMES, install, with_interpreter

HOOK = '#!/usr/bin/env python3\n"""A hook."""\n\nimport sys\n\nprint(sys.executable, sys.argv[1:])\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "hooks"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(HOOK)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    prepare(tmp_path / "h", {"playbooks": "/nowhere", "run": str(tmp_path / "r")})
    return Home(tmp_path / "h")


def test_they_run_with_the_homes_interpreter(home: Home, source: Path) -> None:
    assert install(home, source).lines == [f"hook {name}" for name in NAMES]
    told = subprocess.run([home.hooks / "pre-receive", "a b"], capture_output=True, text=True, check=True).stdout
    assert told == f"{sys.executable} ['a b']\n"


def test_a_second_time_nothing_changes_and_a_changed_hook_is_replaced(home: Home, source: Path) -> None:
    install(home, source)
    assert not install(home, source).changed
    (home.hooks / "post-receive").write_text("broken")
    assert install(home, source, check=True).lines == ["hook post-receive"]
    assert (home.hooks / "post-receive").read_text() == "broken"
    assert install(home, source).lines == ["hook post-receive"]


@pytest.mark.parametrize("folder", ["with space", "d" * 130])
def test_an_interpreter_that_no_first_line_can_name_is_started_by_sh(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    python = tmp_path / folder / "python"
    python.symlink_to(sys.executable)
    hook = tmp_path / "hook"
    hook.write_text(with_interpreter(HOOK, python))
    hook.chmod(0o755)
    told = subprocess.run([hook, "x"], capture_output=True, text=True, check=True).stdout
    assert told.endswith("['x']\n")


def test_a_missing_hook_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"hook .*/pre-receive: No such file"):
        install(home, tmp_path / "nowhere")
