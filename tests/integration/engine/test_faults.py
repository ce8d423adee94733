"""Killed pushers, hooks, playbooks and engines, two pushes at once, a bad release: always a defined state."""

import contextlib
import os
import signal
import socket
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_mcp.engine.client import EngineError
from central_mcp.supervise import Supervisor
from tests.cloud import Cloud, Project, server_code
from tests.waiting import SECOND, wait_until

from .files import everything

SLOW = "import time\ntime.sleep(2)\n"
"""A start long enough to be killed in."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(gate=20.0 * SECOND, watch_first=1.5, lock_wait=60.0 * SECOND) as running:
        yield running


@pytest.fixture(scope="module")
def project(cloud: Cloud) -> Project:
    made = cloud.project("PROJECT_faults", "alpha")
    made.declare("alpha", alpha="rollout: {watch: 2s}")
    made.commit("with a longer watch")
    first = made.push()
    assert first.code == 0, first.output
    return made


def state(cloud: Cloud) -> str:
    """The stage of what is under way; empty when nothing is, `down` while the engine is."""
    try:
        rollouts = [p["rollout"] for p in cloud.status()["projects"] if p["rollout"]]
    except EngineError:
        return "down"
    return str(rollouts[0]["stage"]) if rollouts else ""


def settled(cloud: Cloud) -> None:
    wait_until(lambda: state(cloud) == "", "rollouts to end", 60)
    wait_until(lambda: not any(s["also"] for s in cloud.status()["servers"]), "old releases to retire")


def change(project: Project, version: str, before: str = "") -> str:
    project.write("alpha/server.py", before + server_code("alpha", version))
    return project.commit(version)


def says(cloud: Cloud, project: Project) -> str:
    """What the serving release answers; needs no engine."""
    file = cloud.folder / "key"
    if not file.exists():
        file.write_text(cloud.key(project.name))
    key = file.read_text()
    return str(cloud.call("alpha", "echo", key)["content"][0]["text"])


def kill_engine(cloud: Cloud) -> None:
    pid = cloud.program_pid("engine")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the engine to die")


def processes_of(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if text.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def test_the_second_of_two_pushes_waits_and_is_told_who_holds_the_lock(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    head = project.remote_head()
    change(project, "first", SLOW)
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "staging", "the first push to stage")
    second = project.push()
    told, _ = pushing.communicate(timeout=60 * SECOND)
    assert pushing.returncode == 0, told
    assert "waiting: rollout" in second.output
    assert "has held it for" in second.output
    assert second.code == 1
    assert "by now, not at" in second.output
    assert project.remote_head() != head
    assert says(cloud, project) == "first"


def test_a_rollout_goes_on_and_moves_the_branch_when_the_pusher_is_killed(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    commit = change(project, "pusher gone", SLOW)
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "staging", "the push to stage")
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.communicate()
    wait_until(lambda: project.remote_head() == commit, "the branch to follow", 60)
    assert says(cloud, project) == "pusher gone"
    settled(cloud)


def test_a_rollout_goes_on_when_its_hook_is_killed(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    commit = change(project, "hook gone", SLOW)
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "staging", "the push to stage")
    hooks = wait_until(lambda: processes_of(str(cloud.home.hooks / "proc-receive")), "the hook")
    for pid in hooks:
        os.kill(pid, signal.SIGKILL)
    told, _ = pushing.communicate(timeout=60 * SECOND)
    assert pushing.returncode != 0, told
    wait_until(lambda: project.remote_head() == commit, "the branch to follow", 60)
    assert says(cloud, project) == "hook gone"
    settled(cloud)


def test_an_engine_killed_before_the_switch_leaves_the_old_release_and_nothing_else(
    cloud: Cloud, project: Project
) -> None:
    settled(cloud)
    head, before, said = project.remote_head(), everything(cloud), says(cloud, project)
    commit = change(project, "engine gone", SLOW)
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "staging", "the push to stage")
    wait_until(lambda: len(processes_of("/etc/runner/")) > 1, "the new runner")
    kill_engine(cloud)
    told, _ = pushing.communicate(timeout=60 * SECOND)
    assert pushing.returncode == 1, told
    assert "the engine was restarted while it was staging" in told
    assert says(cloud, project) == said
    settled(cloud)
    assert everything(cloud) == before
    assert project.remote_head() == head
    refused = cloud.status()["projects"][0]["refused"]
    assert refused["commit"] == commit
    assert "restarted" in refused["why"]
    again = project.push()
    assert again.code == 0, again.output
    assert says(cloud, project) == "engine gone"


def test_an_engine_killed_after_the_switch_goes_on_and_the_push_succeeds(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    commit = change(project, "after the switch")
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "watching", "the watch")
    kill_engine(cloud)
    told, _ = pushing.communicate(timeout=60 * SECOND)
    assert pushing.returncode == 0, told
    assert "the engine went away; waiting for it" in told
    assert project.remote_head() == commit
    assert says(cloud, project) == "after the switch"
    release = cloud.status()["projects"][0]["release"]
    current = (cloud.home.projects / project.name / "current").resolve()
    assert current.name == f"{release}-{commit[:7]}"
    settled(cloud)
    assert project.push().code == 0


def test_a_playbook_killed_before_the_switch_is_a_refused_push(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    head, before = project.remote_head(), everything(cloud)
    change(project, "no playbook", SLOW)
    pushing = project.start_push()
    wait_until(lambda: state(cloud) == "staging", "the push to stage")
    for pid in wait_until(lambda: processes_of(f"project={project.name}"), "the playbook"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    told, _ = pushing.communicate(timeout=60 * SECOND)
    project.git("reset", "-q", "--hard", head)
    assert pushing.returncode == 1, told
    assert "ansible-playbook ended" in told
    assert project.remote_head() == head
    assert everything(cloud) == before


def test_a_push_while_the_engine_is_down_is_refused_with_the_next_step(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    head = project.remote_head()
    supervisor = Supervisor(cloud.home.supervisor_socket)
    supervisor.stop("engine")
    try:
        change(project, "nobody there")
        pushed = project.push()
    finally:
        project.git("reset", "-q", "--hard", head)
        supervisor.start("engine")
    assert pushed.code == 1
    assert "the engine does not answer" in pushed.output
    assert "central status" in pushed.output
    wait_until(lambda: state(cloud) == "", "the engine to come back")


@contextlib.contextmanager
def callers(cloud: Cloud) -> Iterator[None]:
    """Calls of the server's tool, one after the other, meanwhile."""
    over = threading.Event()
    key = (cloud.folder / "key").read_text()

    def call() -> None:
        while not over.wait(0.02):
            with contextlib.suppress(OSError, urllib.error.URLError):
                cloud.call("alpha", "echo", key)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        over.set()
        calling.join()


def failing(when: str) -> str:
    """A server whose process ends at a call when the expression `when` is true."""
    end = f"if {when}: sys.exit('lost its database')"
    return server_code("alpha", "bad").replace('return {"content"', f'{end}\n        return {{"content"')


def test_a_release_whose_real_calls_fail_is_taken_back(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    head, said = project.remote_head(), says(cloud, project)
    project.write("alpha/server.py", failing("True"))
    project.commit("fails its calls")
    with callers(cloud):
        pushed = project.push()
    project.git("reset", "-q", "--hard", head)
    assert pushed.code == 1, pushed.output
    assert "calls failed since the switch" in pushed.output
    assert project.remote_head() == head
    assert says(cloud, project) == said
    settled(cloud)


def test_a_release_taken_back_after_its_push_moves_the_branch_back_and_heads_the_next_push(
    cloud: Cloud, project: Project
) -> None:
    settled(cloud)
    head, said, flag = project.remote_head(), says(cloud, project), cloud.folder / "broken"
    project.write("alpha/server.py", failing(f"__import__('os').path.exists({str(flag)!r})"))
    project.declare("alpha", alpha="rollout: {watch: 60s}")
    bad = project.commit("fails later")
    pushed = project.push("detach")
    assert pushed.code == 0, pushed.output
    assert project.remote_head() == bad
    flag.touch()
    with callers(cloud):
        wait_until(lambda: project.remote_head() == head, "the branch to move back", 60)
    assert says(cloud, project) == said
    assert "calls failed" in cloud.status()["projects"][0]["refused"]["why"]
    settled(cloud)
    project.git("reset", "-q", "--hard", head)
    change(project, "after the revert")
    following = project.push()
    assert following.code == 0, following.output
    assert f"({bad[:7]}) was taken back after its push had succeeded" in following.output


def test_garbage_on_the_engines_socket_hurts_nobody(cloud: Cloud, project: Project) -> None:
    for garbage in (
        b"\n",
        b"{}\n",
        b"[1]\n",
        b"\xff\xfe\n",
        b'{"do": 7}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (2 << 20) + b"\n",
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20 * SECOND)
            client.connect(str(cloud.home.engine_socket))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(garbage)
                assert b'"error"' in client.recv(65536)
    assert cloud.status()["projects"][0]["name"] == project.name
