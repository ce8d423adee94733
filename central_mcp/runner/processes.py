"""What /proc says of the processes below a server: who belongs to whom, how much they use; and how to end them all.

Called by the runner. Every process of a server carries MARK in its environment, so that one which left its parent, its
group and its session is still known as that server's.
"""

import os

from central_mcp.runner.small import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MARK = "CENTRAL_PROCESS"
"""`<socket path>:<pid of the server's first process>`"""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def children_of(pid: int) -> list[int]:
    """Living and zombie children, of all threads. A process that is gone has none."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def tree_of(pid: int) -> list[int]:
    """`pid` and its descendants."""
    found = [pid]
    for each in found:
        found += children_of(each)
    return found


def strays_of(first: int) -> list[int]:
    """Processes of the server whose first process is `first` that are children of the runner now, and their trees."""
    strays = [pid for pid in children_of(os.getpid()) if pid != first and owner_of(pid) == first]
    return [pid for stray in strays for pid in tree_of(stray)]


def memory_of(pid: int) -> int:
    """Bytes resident that are not mapped from files."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            fields = file.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE


def mark_of(pid: int) -> str:
    """The value of MARK, or "" when it cannot be read (a zombie, another user, a wiped environment)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return ""
    start = MARK.encode() + b"="
    for item in environment.split(b"\0"):
        if item.startswith(start):
            return os.fsdecode(item[len(start) :])
    return ""


def owner_of(pid: int) -> int:
    """The first process of the server that `pid` belongs to: by its mark, else by its session. 0: cannot be told."""
    head, _, number = mark_of(pid).rpartition(":")
    if head and number.isdigit():
        return int(number)
    try:
        session = os.getsid(pid)
    except OSError:
        return 0
    return 0 if session == pid else session


def kill_group(pid: int, number: int) -> None:
    """Signal a process group; one that is gone is fine."""
    _signal(os.killpg, pid, number)


def _signal(how: "Callable[[int, int], None]", pid: int, number: int) -> bool:
    try:
        how(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_orphans(living: "Mapping[int, object]") -> None:
    """Kill those of our adopted children whose server has ended. The caller repeats it whenever a child has died."""
    for pid in children_of(os.getpid()):
        if pid in living:
            continue
        owner = owner_of(pid)
        if owner in living or (living and not owner):
            continue  # of a living server; or of one that cannot be told, which ends with the last
        _signal(os.kill, pid, signals.SIGKILL)


def kill_marked(socket: str) -> int:
    """Kill every process that carries the mark of `socket`: what a killed runner left. Returns how many."""
    killed = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and mark_of(int(name)).rpartition(":")[0] == socket:
            killed += _signal(os.kill, int(name), signals.SIGKILL)
    return killed
