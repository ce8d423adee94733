"""A full disk and half-written files: the old state serves, the push is refused clearly, with room it goes on."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import ROOT, Cloud
from tests.waiting import SECOND, wait_until

from .caller import Busy, Caller, busy_project
from .census import Census, settled

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def namespaces() -> bool:
    return (
        subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False).returncode
        == 0
    )


def test_a_push_to_a_full_disk_is_refused_and_works_once_there_is_room() -> None:
    if not namespaces():
        pytest.skip("this kernel allows no user and mount namespace")
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as folder:  # the small disk, in the namespace alone
        done = subprocess.run(
            [*NAMESPACE, sys.executable, "-m", "tests.integration.faults.small_disk"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CENTRAL_TEST_FOLDERS": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240 * SECOND,
            check=False,
        )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(watch_first=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Busy:
    return busy_project(cloud)


def snapshot(cloud: Cloud) -> Path:
    return next(path for path in cloud.home.registry.iterdir() if path.is_file())


def table(cloud: Cloud) -> Path:
    return next(iter((cloud.home.etc / "runner").glob("*.json")))


def include(cloud: Cloud) -> Path:
    return cloud.home.etc / "programs" / "dev-tools.conf"


@pytest.mark.parametrize("which", [snapshot, table, include], ids=lambda which: which.__name__)
def test_a_half_written_file_hurts_no_call_and_is_mended(cloud: Cloud, busy: Busy, which) -> None:  # type: ignore[no-untyped-def]
    settled(cloud)
    path = which(cloud)
    whole = path.read_bytes()
    with Caller(cloud, busy) as caller:
        before = Census(cloud)
        half = path.with_name(".half")
        half.write_bytes(whole[: len(whole) // 2])
        half.replace(path)
        caller.flows()
        os.kill(cloud.program_pid("engine"), 9)
        wait_until(lambda: len(path.read_bytes()) > len(whole) * 3 / 4, "it to be mended", 30)
        caller.flows()
        assert caller.errors() == []
    busy.project.write("README.md", which.__name__)
    busy.project.commit(which.__name__)
    pushed = busy.project.push()
    assert pushed.code == 0, pushed.output
    settled(cloud)
    before.holds(files=False)
