"""ansible-playbook for one rollout: started detached, noticed when it ends, ended when it was left over.

Detached means: its own session, stdin closed, output to a file (with a pipe to a vanished pusher it hangs for ever), a
clean environment. It inherits the descriptor of the project's lock file, so a restarted engine knows that it is alive.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from ..home import Home
from ..rollout.errors import Stopped
from .repository import clean_env

log = structlog.get_logger("engine.playbook")

END_S = 5.0
POLL_S = 0.05


class Playbook:
    """One running ansible-playbook."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self.output = output

    @classmethod
    async def start(cls, home: Home, project: str, rollout: int) -> "Playbook":
        """Run rollout.yml for `rollout`. Raises `Stopped` when it cannot be started."""
        output = home.log / "rollouts" / f"{rollout}.log"
        output.parent.mkdir(exist_ok=True)
        playbooks = home.settings.playbooks
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), str(playbooks / "rollout.yml"), "-i", "localhost,", "-c", "local"]
        try:
            with lock_file(home, project).open("a") as lock, output.open("ab") as out:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *("-e", f"project={project}", "-e", f"rollout={rollout}"),
                    env=environment(home),
                    cwd=home.root,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=(lock.fileno(),),
                    start_new_session=True,
                )
        except OSError as exc:
            raise Stopped(
                f"ansible-playbook could not be started: {exc.strerror or exc}",
                stage="playbook",
                hint=f"is ansible-core installed beside {sys.executable}?",
            ) from exc
        return cls(process, output)

    @property
    def record(self) -> dict[str, Any]:
        """What a restarted engine needs to find it: pid, and start time against reused pids."""
        return {"pid": self._process.pid, "since": started(self._process.pid)}

    async def wait(self) -> int:
        """Its exit status."""
        return await self._process.wait()

    def tail(self) -> list[str]:
        """The last lines that it wrote."""
        with contextlib.suppress(OSError):
            return [line for line in self.output.read_text("utf-8", "replace").splitlines() if line.strip()][-15:]
        return []

    async def end(self) -> None:
        await end_group(self._process.pid, self.record["since"])
        await self._process.wait()


def environment(home: Home) -> dict[str, str]:
    """Everything that ansible-playbook sees. No `GIT_*`, no locale of a pusher, no configuration of the host."""
    top = home.settings.playbooks.parent
    temporary = home.root / "tmp"
    return {
        "PATH": clean_env()["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(home.root),
        "TMPDIR": str(temporary),  # a killed module leaves its files here, where they are found, and not in /tmp
        "CENTRAL_HOME": str(home.root),
        "ANSIBLE_CONFIG": str(top / "ansible.cfg"),
        "ANSIBLE_HOME": str(temporary / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(temporary / "ansible" / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(temporary / "ansible" / "tmp"),
        "ANSIBLE_ROLES_PATH": str(top / "roles"),
        "ANSIBLE_LIBRARY": str(top / "plugins" / "modules"),
        "ANSIBLE_CALLBACK_PLUGINS": str(top / "plugins" / "callback"),
        "ANSIBLE_STDOUT_CALLBACK": "central",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_FORKS": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }


def lock_file(home: Home, project: str) -> Path:
    folder = home.projects / project
    folder.mkdir(exist_ok=True)
    return folder / ".lock"


def started(pid: int) -> str:
    """The start time of a process in clock ticks since boot, or empty when there is none (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


async def end_group(pid: int, since: str) -> bool:
    """End the process group of a recorded process if it is still that process: TERM, then KILL. True if it lived."""
    if not since or started(pid) != since:
        return False
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, how)
        for _ in range(int(END_S / POLL_S)):
            if started(pid) != since:
                return True
            await asyncio.sleep(POLL_S)
    return True


async def end_left_over(home: Home, project: str, record: dict[str, Any]) -> bool:
    """End the playbook that an engine before us started; wait until its lock is free. True if there was one."""
    lived = bool(record) and await end_group(int(record["pid"]), str(record["since"]))
    with lock_file(home, project).open("a") as lock:
        end = asyncio.get_running_loop().time() + END_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if asyncio.get_running_loop().time() > end:
                    log.error("playbook.lock_held", project=project)
                    return lived
                await asyncio.sleep(POLL_S)
            else:
                return lived
