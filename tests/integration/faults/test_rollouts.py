"""What dies in the middle of a push: afterwards ref, status and what serves agree, the next push works."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from central_mcp.engine.client import EngineError
from central_mcp.supervise import Supervisor
from tests.cloud import Cloud, Project
from tests.waiting import SECOND, wait_until

from .caller import Busy, busy_project, busy_server
from .census import Census, processes, settled

SLOW_START = "import time\ntime.sleep(1)\n"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(gate=20.0 * SECOND, watch_first=1.5) as running:
        yield running


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Busy:
    return busy_project(cloud)


def stage(cloud: Cloud) -> str:
    try:
        return next((str(p["rollout"]["stage"]) for p in cloud.status()["projects"] if p["rollout"]), "")
    except EngineError:
        return ""


def staging(cloud: Cloud) -> bool:
    return stage(cloud) == "staging"


def gating(cloud: Cloud) -> bool:
    """The new runner listens, the gate has begun."""
    return staging(cloud) and len(list((cloud.home.run / "s").glob("*.sock"))) > 2


def watching(cloud: Cloud) -> bool:
    return stage(cloud) == "watching"


def holding(cloud: Cloud) -> bool:
    return stage(cloud) == "holding"


def retiring(cloud: Cloud) -> bool:
    try:
        return stage(cloud) == "" and any(s["also"] for s in cloud.status()["servers"])
    except EngineError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes(), "it to die"
    )


def kill_program(name: str) -> Callable[[Cloud], None]:
    return lambda cloud: kill(cloud.program_pid(name))


def kill_supervisord(cloud: Cloud) -> None:
    kill(Supervisor(cloud.home.supervisor_socket).pid())


def kill_new_runner(cloud: Cloud) -> None:
    newest = max(cloud.home.run.glob("*.status"), key=lambda path: path.stat().st_mtime)
    kill(int(json.loads(newest.read_bytes())["runner"]))


def says(cloud: Cloud, busy: Busy) -> str:
    return str(cloud.call("alpha", "read", busy.key, n=1)["content"][0]["text"]).split()[0]


MIDDLES: dict[str, tuple[Callable[[Cloud], bool], Callable[[Cloud], None]]] = {
    "engine at the build": (staging, kill_program("engine")),
    "router at the gate": (gating, kill_program("router")),
    "runner at the gate": (gating, kill_new_runner),
    "supervisord at the gate": (gating, kill_supervisord),
    "supervisord in the watch": (watching, kill_supervisord),
    "engine in the long watch": (holding, kill_program("engine")),
    "engine while it retires": (retiring, kill_program("engine")),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_what_dies_in_the_middle_of_a_push_leaves_a_defined_state(cloud: Cloud, busy: Busy, name: str) -> None:
    when, how = MIDDLES[name]
    project = busy.project
    settled(cloud)
    before, head, said = Census(cloud), project.remote_head(), says(cloud, busy)
    version = name.replace(" ", "-")
    project.write("alpha/server.py", SLOW_START + busy_server(cloud, version))
    commit = project.commit(version)
    open_call = threading.Thread(target=cloud.call, args=("alpha", "read", busy.key), kwargs={"n": 2, "seconds": 7})
    if when is retiring:  # which takes as long as what is open on the old release
        open_call.start()
    pushing = project.start_push()
    wait_until(lambda: when(cloud), f"the moment of: {name}", 60, 0.005)
    how(cloud)
    told, _ = pushing.communicate(timeout=90 * SECOND)
    if open_call.ident:
        open_call.join()
    settled(cloud)
    now = agreed(cloud, project)
    assert now in (head, commit)
    wait_until(lambda: says(cloud, busy) == (version if now == commit else said), "calls to be answered", 60)
    if pushing.returncode == 0:
        assert now == commit, told
    if now == head:
        assert pushing.returncode == 1, told
        assert "next: " in told or "hint" in told or "engine does not answer" in told, told
        before.holds()
        again = project.push()
        assert again.code == 0, again.output
        assert agreed(cloud, project) == commit
    settled(cloud)
    count = sum(before.processes.values())
    wait_until(lambda: sum(processes(cloud).values()) == count, "as many processes as before", 60, 0.1)


def agreed(cloud: Cloud, project: Project) -> str:
    """The commit that branch, status and record name alike."""
    status = next(p for p in cloud.status()["projects"] if p["name"] == project.name)
    releases = cloud.ask("releases", project=project.name)["releases"]
    serving = [release["commit"] for release in releases if release["serving"]]
    assert project.remote_head() == status["commit"] == serving[0]
    assert len(serving) == 1
    current = (cloud.home.projects / project.name / "current").resolve().name
    assert current == f"{status['release']}-{status['commit'][:7]}"
    return str(status["commit"])
