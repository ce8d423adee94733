"""`python -m tests.integration.faults.small_disk`: pushes to a home whose disk is full, in its own mount namespace.

Run by `test_disk` under `unshare`, so that the small file system is there for this process and its children alone.
Prints what it saw; exits with 0 when all was as it must be.
"""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.cloud import Cloud, Project
from tests.waiting import SECOND, wait_until

from .caller import Busy, busy_project, busy_server
from .census import settled

SIZE_MIB = 64
ROOM_KIB = (0, 48, 1600)
"""Left free on the disk: failures at the record of the rollout, at its playbook, at its sources."""
FILLED = "filled"


def fill(cloud: Cloud, room_kib: int) -> Path:
    """Fill the disk but for so much."""
    path = cloud.home.root / FILLED
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * (64 << 10))
        except OSError:
            pass
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - (room_kib << 10)))
    return path


def says(cloud: Cloud, busy: Busy) -> str:
    return str(cloud.call("alpha", "read", busy.key, n=1)["content"][0]["text"]).split()[0]


def push_on_full(cloud: Cloud, busy: Busy, room_kib: int) -> None:
    project: Project = busy.project
    said, head = says(cloud, busy), project.remote_head()
    version = f"room-{room_kib}"
    project.write("alpha/server.py", busy_server(cloud, version))
    (project.folder / "alpha" / "large.bin").write_bytes(os.urandom(3 << 20))
    commit = project.commit(version)
    assert project.push(ref="HEAD:refs/heads/side").code == 0  # the objects are there, so git itself needs no room
    filled = fill(cloud, room_kib)
    pushed = project.push()
    print(f"--- {room_kib} KiB left:\n{pushed.output}", flush=True)
    assert pushed.code == 1
    assert "disk" in pushed.output.lower() or "space" in pushed.output.lower()
    assert "Traceback" not in pushed.output
    assert says(cloud, busy) == said
    assert project.remote_head() == head
    filled.unlink()
    wait_until(lambda: cloud.status()["projects"][0]["commit"] == head, "status to tell what serves", 60)
    settled(cloud)
    again = project.push()
    assert again.code == 0, again.output
    assert project.remote_head() == commit
    assert says(cloud, busy) == version
    settled(cloud)


def git_itself_is_full(cloud: Cloud, busy: Busy) -> None:
    """No room for the pushed objects: git says so, and nothing has happened."""
    project, said = busy.project, says(cloud, busy)
    (project.folder / "large.bin").write_bytes(os.urandom(4 << 20))
    project.commit("large")
    head, filled = project.remote_head(), fill(cloud, 256)
    pushed = project.push()
    print(f"--- for git itself:\n{pushed.output}", flush=True)
    assert pushed.code == 1
    assert "No space left" in pushed.output
    assert says(cloud, busy) == said
    assert project.remote_head() == head
    filled.unlink()
    assert project.push().code == 0


def restart_on_full(cloud: Cloud, busy: Busy) -> None:
    """The data plane does not need the disk: killed on a full one, it serves again."""
    said, filled = says(cloud, busy), fill(cloud, 0)
    for name in ("router", "coordinator"):
        os.kill(cloud.program_pid(name), 9)

    def serves() -> bool:
        try:
            return says(cloud, busy) == said
        except (OSError, urllib.request.HTTPError, KeyError):
            return False

    wait_until(serves, "calls to be answered on a full disk", 60, 0.1)
    filled.unlink()


def main() -> int:
    folder = os.environ["CENTRAL_TEST_FOLDERS"]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", folder], check=True)
    with Cloud.up(gate=10.0 * SECOND, watch_first=0.2) as cloud:
        busy = busy_project(cloud)
        settled(cloud)
        for room_kib in ROOM_KIB:
            push_on_full(cloud, busy, room_kib)
        git_itself_is_full(cloud, busy)
        restart_on_full(cloud, busy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
