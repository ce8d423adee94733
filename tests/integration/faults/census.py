"""What a cloud has running and lying about: to be the same before a fault and after it."""

import contextlib
import os
from collections import Counter
from pathlib import Path

from central_mcp.engine.client import EngineError
from central_mcp.runner.processes import tree_of
from central_mcp.supervise import keeper, leftovers
from tests.cloud import Cloud
from tests.integration.engine.files import everything
from tests.waiting import wait_until


def _told(pid: int) -> str:
    """Command and folder of a process, without what changes from run to run."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return "zombie"
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return f"{command} in {os.readlink(f'/proc/{pid}/cwd')}"
    return ""


def processes(cloud: Cloud) -> Counter[str]:
    """All of this home, below the keeper or not."""
    pid = keeper.running(cloud.home)
    pids = {*leftovers.marked(cloud.home), *(tree_of(pid) if pid else ())}
    return Counter(told for pid in pids if (told := _told(pid)))


def orphans(cloud: Cloud) -> list[str]:
    """Processes of this home that the keeper does not have below it."""
    pid = keeper.running(cloud.home)
    below = set(tree_of(pid)) if pid else set()
    return [told for pid in leftovers.marked(cloud.home) if pid not in below and (told := _told(pid))]


def sockets(cloud: Cloud) -> set[str]:
    run = cloud.home.run
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_socket()}


def environments(cloud: Cloud) -> set[str]:
    return {path.name for path in cloud.home.envs.iterdir()}


def settled(cloud: Cloud) -> None:
    """Wait until no rollout is under way, old releases are gone and so are the processes that worked for them."""

    def quiet() -> bool:
        try:
            status = cloud.status()
        except EngineError:
            return False
        return not any(p["rollout"] for p in status["projects"]) and not any(s["also"] for s in status["servers"])

    wait_until(quiet, "rollouts to end and old releases to retire", 90)
    wait_until(lambda: not any("ansible" in told for told in processes(cloud)), "playbooks to end", 30)


class Census:
    """`before = Census(cloud)` ... `before.holds()`: the same again, waited for."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.processes = processes(cloud)
        self.sockets = sockets(cloud)
        self.everything = everything(cloud)
        self.environments = environments(cloud)

    def holds(self, *, files: bool = True) -> None:
        cloud = self._cloud
        try:
            wait_until(lambda: processes(cloud) == self.processes, "the processes of before", 30, 0.1)
        except AssertionError as exc:
            now = processes(cloud)
            raise AssertionError(f"{exc}; new: {now - self.processes}; gone: {self.processes - now}") from None
        assert orphans(cloud) == []
        wait_until(lambda: sockets(cloud) == self.sockets, f"these sockets: {self.sockets}", 30)
        if files:
            self._files_hold()
            assert environments(cloud) == self.environments

    def _files_hold(self) -> None:
        """The same files and programs; names those that are gone or new."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: everything(self._cloud) == self.everything, "the files of before", 30)
        now = everything(self._cloud)
        gone, new = sorted(self.everything - now), sorted(now - self.everything)
        assert now == self.everything, f"gone: {gone}, new: {new}"
