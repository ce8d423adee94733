"""One connection: the server process that it became, what it says on stderr, and how it is brought to its end.

Owned by the runner's loop (main.py), which reports readiness, time and exits. Spawns, kills, never waits.
"""

import os
import time
from _socket import SHUT_RDWR

from central_mcp.runner import processes
from central_mcp.runner.log import Lines
from central_mcp.runner.small import die_with_parent, signal_name, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from central_mcp.runner.table import Entry

READ_BYTES = 64 << 10
YOUNG_S = 10.0  # a process this young, or above half of its limit, is looked at each LOOK_S, else each LOOK_IDLE_S
LOOK_S = 0.5
LOOK_IDLE_S = 5.0
FAILED = 127
_CANNOT = "runner: cannot start "


class Child:
    def __init__(self, entry: "Entry", connection: "Socket", pid: int, stderr: int) -> None:
        self.entry = entry
        self.connection = connection
        """Ours only to see the peer hang up, and to hang up on it when the process has ended."""
        self.pid = pid
        self.stderr = stderr
        self.at_end = False
        """True when nobody holds the other end of the stderr pipe any more."""
        self.since = time.time()
        self.lines = Lines()
        self._why = self.reason = ""
        """Why the runner ended it; empty when it ended by itself."""
        self._term_at = self._kill_at = float("inf")
        self._look_at = time.monotonic() + LOOK_S if entry.limits.memory or entry.limits.processes else float("inf")

    def read(self) -> "list[bytes] | None":
        """The complete lines that one read brings; None when there is nothing to read."""
        if self.stderr < 0:
            return None
        try:
            data = os.read(self.stderr, READ_BYTES)
        except BlockingIOError:
            return None
        self.at_end = not data
        return self.lines.feed(data, time.monotonic()) if data else self.lines.end()

    def end(self, reason: str, now: float, term_after: float, kill_after: float) -> None:
        """From now on: SIGTERM after `term_after` seconds, SIGKILL after `kill_after`; an earlier moment stands."""
        self._why = self._why or reason
        self._term_at = min(self._term_at, now + term_after)
        self._kill_at = min(self._kill_at, now + kill_after)

    def hang_up(self) -> None:
        """Close the connection even while a grandchild holds it open; what was written stays readable."""
        try:  # noqa: SIM105 - contextlib would cost each runner memory
            self.connection.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the peer was first
        self.connection.close()

    @property
    def next_at(self) -> float:
        return min(self._term_at, self._kill_at, self._look_at)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self._look_at:
            self._look(now)
        if now >= min(self._kill_at, self._term_at):
            self.reason = self.reason or self._why
        if now >= self._kill_at:
            processes.kill_group(self.pid, signals.SIGKILL)
            self._kill_at, self._term_at = now + 1.0, float("inf")  # again, until it is reaped
        elif now >= self._term_at:
            processes.kill_group(self.pid, signals.SIGTERM)
            self._term_at = float("inf")

    def _look(self, now: float) -> None:
        """Compare use with limits. (RLIMIT_AS would end node at its start, RLIMIT_NPROC counts the whole user.)"""
        limits = self.entry.limits
        tree = [*processes.tree_of(self.pid), *processes.strays_of(self.pid)]
        used = sum(map(processes.memory_of, tree))
        if limits.memory and used > limits.memory:
            self.end(f"used {used >> 20} MiB, more than limits.memory = {limits.memory >> 20} MiB", now, 0, 0)
        elif limits.processes and len(tree) > limits.processes:
            self.end(f"had {len(tree)} processes, more than limits.processes = {limits.processes}", now, 0, 0)
        busy = used * 2 > limits.memory or len(tree) * 2 > limits.processes or time.time() - self.since < YOUNG_S
        self._look_at = now + (LOOK_S if busy else LOOK_IDLE_S)

    def last(self, status: int) -> "dict[str, object]":
        """What the status file tells of its end; `status` is waitpid's."""
        code = os.waitstatus_to_exitcode(status)
        tail = self.lines.tail
        reason = self.reason
        if code == FAILED and tail and tail[-1].startswith(_CANNOT):
            reason = tail[-1].removeprefix("runner: ")
        now = time.time()
        return {
            "pid": self.pid,
            "code": code if code >= 0 else None,
            "signal": signal_name(-code) if code < 0 else None,
            "reason": reason or None,
            "at": now,
            "lived_s": round(now - self.since, 3),
            "stderr": tail,
        }


def spawn(entry: "Entry", connection: "Socket") -> Child:
    """The connection becomes fd 0 and 1 of a new process of `entry`. Raises `OSError` (no process, no descriptor)."""
    runner = os.getpid()
    read_end, write_end = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _become(entry, connection.fileno(), write_end, runner)
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    os.set_blocking(read_end, False)
    return Child(entry, connection, pid, read_end)


def _become(entry: "Entry", connection: int, stderr: int, runner: int) -> None:
    """In the new process: turn into the server. Never returns."""
    where = "setup"
    try:
        os.setsid()
        die_with_parent(runner)
        for number in (signals.SIGPIPE, signals.SIGXFSZ, signals.SIGCHLD, signals.SIGTERM):
            signals.signal(number, signals.SIG_DFL)
        os.dup2(stderr, 2)
        os.dup2(connection, 0)
        os.dup2(connection, 1)
        os.closerange(3, 1 << 20)
        _limit(entry.limits.files)
        environment = {**entry.env, processes.MARK: f"{entry.socket}:{os.getpid()}"}
        where = entry.cwd
        os.chdir(entry.cwd)
        where = entry.argv[0]
        os.execvpe(entry.argv[0], entry.argv, environment)
    except BaseException as exc:  # noqa: BLE001 - the other side of a fork: it ends here, whatever happened
        cause = exc.strerror if isinstance(exc, OSError) else repr(exc)
        if isinstance(exc, FileNotFoundError) and os.path.isfile(where):
            cause = "the interpreter that its first line names is missing"
        text = f"{_CANNOT}{entry.name}@{entry.release}: {where}: {cause}\n"
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(FAILED)


def _limit(files: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if files:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
