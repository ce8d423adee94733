"""The provision playbook on a home of its own: it converges, its check mode is honest, and `down` leaves nothing."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_mcp.home import Home
from central_mcp.supervise import keeper, leftovers

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="p", dir="/tmp"))
    home = Home(folder / "h")
    try:
        yield home
    finally:
        if (home.etc / "settings.json").exists():
            keeper.stop(home)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def provision(home: Home, port: int, *options: str) -> tuple[int, str]:
    """(number of changed tasks, output)"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "CENTRAL_"))}
    ours = {"CENTRAL_HOME": str(home.root), "CENTRAL_PORT": str(port), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [BIN / "ansible-playbook", "playbooks/provision.yml", *options],
        cwd=ROOT,
        env={**kept, **ours},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    changed = re.search(r"changed=(\d+)", done.stdout)
    assert changed is not None, done.stdout
    return int(changed[1]), done.stdout


def down(home: Home) -> str:
    environment = {**os.environ, "CENTRAL_HOME": str(home.root)}
    done = subprocess.run([BIN / "central", "down"], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_machine_is_provisioned_again_without_change_and_taken_down_without_a_trace(home: Home, port: int) -> None:
    changed, told = provision(home, port, "--check", "--diff")
    assert changed == 4
    assert f'"port": {port}' in told
    assert not home.root.exists()

    assert provision(home, port)[0] == 4
    pid = keeper.running(home)
    assert pid is not None

    assert provision(home, port)[0] == 0
    assert provision(home, port, "--check", "--diff")[0] == 0
    assert keeper.running(home) == pid

    assert "no process and no socket is left" in down(home)
    assert leftovers.marked(home) == []
    assert [path for path in home.root.rglob("*") if path.is_socket()] == []
    assert down(home) == "nothing runs\n"
