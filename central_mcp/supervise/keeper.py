"""`python -m central_mcp.supervise.keeper`: keeps supervisord alive where no systemd does, and ends all with itself.

A small parent in a session of its own and a subreaper, so that whatever is orphaned below comes to it. supervisord
dies with the keeper, its programs with supervisord (both by PR_SET_PDEATHSIG). The `service` role starts it, `stop`
ends it.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ..home import Home, HomeError
from ..runner.log import Log
from . import leftovers
from .configuration import MAIN, validate
from .errors import KeeperError, SuperviseError
from .program import MARK, need
from .supervisor import Supervisor

LOCK = "keeper.pid"
BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before the n-th restart in a row; supervisord that lived LIVED_S begins the row anew."""
LIVED_S = 10.0
STOP_ALL_S = 60.0
SHUTDOWN_S = 10.0
READY_S = 30.0
LOOK_S = 5.0
"""Between two looks whether the home is still there."""
LOCKED_S = 5.0
"""A keeper that has not taken its lock by then has failed."""
PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._wanted = True
        self._deaths = 0
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._log = Log(str(home.log / "keeper.log"))  # rotated, and a full disk does not matter to it
        self._lock = _take_lock(home)
        self._root = os.stat(home.root)

    def run(self) -> None:
        """Keep supervisord running until SIGTERM or SIGINT; then end everything. Raises `SuperviseError` at start."""
        validate(self._home.etc / MAIN)
        _become_subreaper()
        soft_to_hard_limit()
        wake = self._catch_signals()
        self._clear("an earlier run")
        while self._wanted:
            started = time.monotonic()
            self._supervisord = self._start()
            self._wait(wake)
            if not self._still_ours():
                self._leave()
                return
            if self._wanted:
                self._after_death(time.monotonic() - started, wake)
        self._stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        self._say("supervisord starts")
        guard = [need("setpriv"), "--pdeathsig", "KILL", "--"]
        command = [*guard, sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._home.etc / MAIN)]
        started = subprocess.Popen(
            command,
            cwd=self._home.root,
            env=environment(self._home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # never a file: supervisord dies of a stderr that a full disk does not take
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._relay, args=(started.stdout,), daemon=True).start()
        return started

    def _relay(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._log.write([line.rstrip()], "supervisord")

    def _say(self, text: str) -> None:
        self._log.write([text.encode()], f"keeper {os.getpid()}")

    def _wait(self, wake: int) -> None:
        """Until supervisord has died, a signal asks for the end or the home is gone; reaps what was orphaned to us."""
        while self._wanted and self._home_is_there():
            if self._ended():
                return
            if select.select([wake], [], [], LOOK_S)[0]:
                os.read(wake, 4096)

    def _ended(self) -> bool:
        """Reap; has supervisord been among the dead?"""
        assert self._supervisord is not None
        status = leftovers.reap().get(self._supervisord.pid)
        if status is not None:
            self._supervisord.returncode = os.waitstatus_to_exitcode(status)
        return self._supervisord.returncode is not None

    def _home_is_there(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._home.root), self._root)
        return False

    def _still_ours(self) -> bool:
        """A lock file that was deleted is made anew; one that another keeper or `stop` made meanwhile ends us."""
        if not self._home_is_there():
            return False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._home.run / LOCK), os.fstat(self._lock)):
                return True
        try:
            fresh = _take_lock(self._home)
        except KeeperError:
            return False
        os.close(self._lock)
        self._lock = fresh
        return True

    def _leave(self) -> None:
        """End what is below us and nothing else: the home is another keeper's now, or gone."""
        for pid in leftovers.below(os.getpid()):
            _signal(pid, signal.SIGKILL)
        self._say(f"ends: {self._home.root} is gone, or another keeper's")

    def _after_death(self, lived_s: float, wake: int) -> None:
        self._deaths = 1 if lived_s > LIVED_S else self._deaths + 1
        delay = BACKOFF_S[min(self._deaths, len(BACKOFF_S)) - 1]
        self._clear("the supervisord that died")
        self._say(f"supervisord died after {lived_s:.1f} s; starts again in {delay:g} s")
        end = time.monotonic() + delay
        while self._wanted and (left := end - time.monotonic()) > 0:
            if select.select([wake], [], [], left)[0]:
                os.read(wake, 4096)

    def _clear(self, whose: str) -> None:
        """Nothing of this home may live or listen when supervisord starts: it would be there twice."""
        killed = leftovers.end_all(self._home, mine=True)
        leftovers.remove_sockets(self._home)
        if killed:
            self._say(f"ended {killed} processes that {whose} left")

    def _stop(self) -> None:
        """Programs first, all at the same time; then supervisord; then whatever is left."""
        self._say("ends")
        supervisor = Supervisor(self._home.supervisor_socket, SHUTDOWN_S)
        with contextlib.suppress(SuperviseError):
            supervisor.stop_all(STOP_ALL_S)
            supervisor.shutdown()
            end = time.monotonic() + SHUTDOWN_S
            while not self._ended() and time.monotonic() < end:
                time.sleep(0.02)
        self._clear("the programs")
        (self._home.run / LOCK).unlink(missing_ok=True)
        self._say("has ended")

    def _catch_signals(self) -> int:
        wake, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal that started us may close
        return wake

    def _end(self, number: int, frame: object) -> None:
        self._wanted = False


def environment(home: Home) -> dict[str, str]:
    """What supervisord gets: nothing of the caller's. Programs get theirs from the configuration."""
    return {
        "HOME": str(home.root),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        MARK: str(home.root),
        "TMPDIR": "/dev/shm",  # supervisord does not start when it finds no folder to write to, as on a full disk
    }


def running(home: Home) -> int | None:
    """Pid of the living keeper of this home, or None. The lock tells, a pid in a file does not."""
    try:
        descriptor = os.open(home.run / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def stop(home: Home, timeout_s: float = STOP_ALL_S + 2 * SHUTDOWN_S) -> bool:
    """End everything of this home: the keeper with all below it, or what a killed keeper left. True if there was any.

    Raises `KeeperError` when something is still there after `timeout_s`, the last of it killed.
    """
    pid = running(home)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        if not _gone(home, time.monotonic() + timeout_s):
            _signal(pid, signal.SIGKILL)
            if not _gone(home, time.monotonic() + SHUTDOWN_S):
                raise KeeperError(f"the keeper of {home.root} (pid {pid}) does not end, not even when killed")
        _wait_ended(pid, time.monotonic() + SHUTDOWN_S)  # its lock is free a moment before it has ended
    with _locked(home):  # so that a keeper whose lock file was deleted starts nothing again
        killed = leftovers.end_all(home)
        leftovers.remove_sockets(home)
    if left := leftovers.marked(home):
        raise KeeperError(f"{home.root}: processes {left} do not end; end them as the user they belong to")
    return pid is not None or killed > 0


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _gone(home: Home, deadline: float) -> bool:
    while running(home) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _wait_ended(pid: int, deadline: float) -> None:
    """Return when `pid` runs no program any more (a zombie that nobody reaps counts as ended), or at `deadline`."""
    while _command(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _make_folders(home: Home) -> None:
    """The folders of the sockets: CENTRAL_RUN may be a temporary one that a reboot has emptied."""
    for folder in (home.run, home.run / "s", home.supervisor_socket.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _take_lock(home: Home) -> int:
    path = home.run / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise KeeperError(f"{path}: {exc.strerror}. Run `make up` (or the provision playbook) again") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise KeeperError(f"a keeper of {home.root} runs already (pid {running(home)}); `make down` ends it") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Hold the lock, if there is a folder for it and no keeper is just starting."""
    try:
        descriptor = _take_lock(home)
    except KeeperError:
        yield
        return
    try:
        yield
    finally:
        (home.run / LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _become_subreaper() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise KeeperError("this kernel has no PR_SET_CHILD_SUBREAPER; Linux 3.4 or newer is needed")


def soft_to_hard_limit() -> None:
    """A thousand programs are three thousand descriptors in supervisord."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def detach(home: Home) -> None:
    """Go on in a process of its own session; return from here only there. The caller's process ends when all is up."""
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            pipe.read()  # its end says that the keeper has let go of us
        os._exit(_report(home))
    os.setsid()
    if os.fork():
        os._exit(0)
    log = os.open(home.log / "keeper.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(write_end)


def _report(home: Home) -> int:
    started = time.monotonic()
    supervisor = Supervisor(home.supervisor_socket, LOCKED_S)
    while (waited := time.monotonic() - started) < READY_S:
        if supervisor.answers():
            return 0
        if waited > LOCKED_S and running(home) is None:
            break
        time.sleep(0.05)
    print(f"supervisord of {home.root} does not answer; {home.log}/keeper.log and keeper.out tell why", file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m central_mcp.supervise.keeper", description=__doc__)
    parser.add_argument("--home", type=Path, help="CENTRAL_HOME; default: as every program finds it")
    parser.add_argument("--detach", action="store_true", help="return once supervisord answers")
    options = parser.parse_args(arguments)
    try:
        home = Home(options.home.absolute()) if options.home else Home.find()
        _make_folders(home)
        validate(home.etc / MAIN)
        if options.detach:
            if running(home) is not None:
                raise KeeperError(f"a keeper of {home.root} runs already (pid {running(home)}); `make down` ends it")
            detach(home)
        Keeper(home).run()
    except (SuperviseError, HomeError, OSError) as exc:
        print(f"keeper: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
