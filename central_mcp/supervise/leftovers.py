"""What a supervisord, a keeper or a runner that was killed leaves behind: processes and sockets of one home.

Everything started under a home carries a mark in its environment, so what is found here is ours, whoever its parent
is now. Used by the keeper and by `stop`.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from ..home import Home
from ..runner import processes
from .program import MARK

GONE_S = 10.0


def marked(home: Home) -> list[int]:
    """Processes of this home, apart from this one: programs, what they started, and servers."""
    program = f"{MARK}={home.root}".encode()
    server = f"{processes.MARK}={home.run}/s/".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                items = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(item == program or item.startswith(server) for item in items):
                found.append(int(name))
    return found


def below(pid: int) -> list[int]:
    """Descendants of `pid`; for a subreaper that is everything it has started."""
    return processes.tree_of(pid)[1:]


def end_all(home: Home, *, mine: bool = False) -> int:
    """Kill what `marked` finds, and with `mine` all descendants of this process, until nothing is left. How many?"""
    killed: set[int] = set()
    deadline = time.monotonic() + GONE_S
    while True:
        if mine:
            reap()
        found = {pid for pid in {*marked(home), *(below(os.getpid()) if mine else ())} if not _zombie(pid)}
        if not found or time.monotonic() > deadline:
            return len(killed)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        time.sleep(0.01)


def reap() -> dict[int, int]:
    """Wait for all children that have ended: pid -> status."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = status
    return ended


def remove_sockets(home: Home) -> None:
    """Remove the sockets that dead programs left. Call it only when none of this home's programs lives."""
    for folder in (home.run, home.run / "s", home.supervisor_socket.parent):
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if path.is_socket():
                    path.unlink(missing_ok=True)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True
