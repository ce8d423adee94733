"""`run_as`: run one program to its end (a build, a gate's helper), lines to a callback, nothing left behind.

Blocking; the engine calls it in a thread. Also used by builds.
"""

import contextlib
import os
import pwd
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import RunError
from .program import need

READ_BYTES = 64 << 10
LINE_BYTES = 64 << 10
LOOK_S = 0.2
"""How long a cancel may go unnoticed."""


def run_as(
    user: str | None,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    on_line: Callable[[str], None],
    cancel: threading.Event | None = None,
) -> int:
    """Run `argv` in a session of its own and return its exit code (negative: the signal that ended it).

    stdout and stderr go line by line to `on_line`; stdin is empty; `env` is the whole environment. Raises `RunError`
    when it cannot be started, takes longer than `timeout_s` or `cancel` is set. Its process group is dead on return,
    and dies with the calling thread, which is why a thread must wait for it here.
    """
    command = [*_guard(user), *argv]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        raise RunError(f"{argv[0]} could not be started in {cwd}: {exc.strerror}") from exc
    try:
        for line in _lines(process, argv[0], time.monotonic() + timeout_s, timeout_s, cancel):
            on_line(line)
        return process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _guard(user: str | None) -> list[str]:
    guard = [need("setpriv"), "--pdeathsig", "KILL"]
    if user is not None:
        try:
            group = pwd.getpwnam(user).pw_gid
        except KeyError as exc:
            raise RunError(f"there is no user {user} on this machine; the host playbook makes it") from exc
        guard += ["--reuid", user, "--regid", str(group), "--init-groups"]
    return [*guard, "--"]


def _lines(
    process: "subprocess.Popen[bytes]", name: str, deadline: float, timeout_s: float, cancel: threading.Event | None
) -> Iterator[str]:
    """Lines until the program has ended. A process that it left behind may hold the pipe; nobody waits for that one."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if cancel is not None and cancel.is_set():
                raise RunError(f"{name} was cancelled")
            if time.monotonic() > deadline:
                raise RunError(f"{name} did not end within {timeout_s:g} s")
            ended = process.poll() is not None  # looked at before reading, so that nothing written is missed
            ready = selector.select(0 if ended else LOOK_S)
            data = os.read(descriptor, READ_BYTES) if ready else b""
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield _text(line)
            if len(rest) > LINE_BYTES:
                yield _text(rest)
                rest = b""
            if ready and not data:
                selector.unregister(descriptor)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_S)
            elif ended and not ready:
                break
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")
