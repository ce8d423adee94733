"""`make` prepares .venv: it says what is missing before it changes anything, and a second run does nothing."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of this checkout as the bootstrap reads."""
    for name in ("scripts/bootstrap.py", "pyproject.toml", "bridge/pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("__init__.py", "toolchain.py", "cli/__init__.py", "cli/preflight.py"):
        (tmp_path / "central_mcp" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "central_mcp" / name, tmp_path / "central_mcp" / name)
    return tmp_path


def run(checkout: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(checkout / "scripts" / "bootstrap.py")],
        env={"PATH": path, "HOME": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_programs_are_named_with_their_apt_line_and_nothing_is_made(checkout: Path, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    done = run(checkout, str(empty))
    assert done.returncode == 1
    assert "error: git is missing; make is missing; setpriv is missing" in done.stderr
    assert "next:  sudo apt install git" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_git_without_proc_receive_is_named(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("git", "echo git version 2.25.1"), ("make", ""), ("setpriv", "")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    done = run(checkout, f"{tools}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "git version 2.25.1 is too old, 2.29 is the oldest" in done.stderr


def test_a_missing_ensurepip_is_named_as_the_package_that_brings_it(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert bootstrap.missing()[0] == (
        "python3-venv is missing (no module ensurepip)",
        "sudo apt install python3-venv",
    )


def test_a_true_stamp_means_nothing_to_do(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names, digest = bootstrap.plan(dev=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "central").touch()
    (tmp_path / "bootstrap.json").write_text(f'{{"digest": "{digest}", "dev": false}}')
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "bootstrap.json")
    assert names[:2] == ["vm", "bridge"]
    assert bootstrap.bootstrap(dev=False) is False


def test_what_the_tests_need_stays_once_it_is_there(bootstrap: ModuleType) -> None:
    _, without = bootstrap.plan(dev=False)
    names, with_dev = bootstrap.plan(dev=True)
    assert "dev" in names
    assert without != with_dev


def test_node_comes_as_a_wheel_only_where_none_will_do(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    names, _ = bootstrap.plan(dev=False)
    assert "node" in names


def test_a_changed_lock_is_seen(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    monkeypatch.setattr(bootstrap, "LOCKS", checkout / "requirements")
    _, before = bootstrap.plan(dev=False)
    with (checkout / "requirements" / "bridge.txt").open("a") as lock:
        lock.write("# changed\n")
    assert bootstrap.plan(dev=False)[1] != before


def test_this_checkout_is_found_by_a_path_that_every_locale_can_read(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "Zoë"
    site = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    file = site / "_editable_impl_central_mcp.pth"
    file.write_text(f"{checkout}/bridge", encoding="utf-8")
    monkeypatch.setattr(bootstrap, "VENV", checkout / ".venv")
    for _ in range(2):
        bootstrap.relative_paths()
        assert (site / file.read_text(encoding="ascii").strip()).resolve() == checkout / "bridge"
