"""The `service` role on a laptop: the keeper runs detached, supervisord under it, and the core programs answer."""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ..engine.client import Engine, EngineError, EngineUnreachable
from ..home import Home
from ..supervise import SuperviseError, Supervisor, keeper
from ..supervise.program import MARK
from .outcome import Outcome, ProvisionError

START_S = 60.0
"""Seconds for supervisord and the core programs to answer; 3 s on an idle machine, so this is for a crowded one."""


def serve(home: Home, *, check: bool = False, timeout_s: float = START_S) -> Outcome:
    """Start the keeper, or let supervisord take up what changed; wait for answers. Raises `ProvisionError`."""
    outcome = Outcome()
    if keeper.running(home) is None:
        outcome.did("keeper and supervisord started")
        if check:
            return outcome
        start_keeper(home)
    elif not check:
        follow(home, outcome)
    if not check:
        wait_until_answering(home, time.monotonic() + timeout_s)
    return outcome


def start_keeper(home: Home) -> None:
    """Detached, in its own session. Returns once supervisord answers. Raises `ProvisionError`."""
    argv = [str(home.settings.python), "-m", "central_mcp.supervise.keeper", "--home", str(home.root), "--detach"]
    done = subprocess.run(
        argv,
        cwd=home.root,
        env={name: value for name, value in keeper.environment(home).items() if name != MARK},  # we are not below it
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProvisionError(f"the keeper did not start: {done.stderr.strip()}\n{tail(home, 'keeper')}")


def follow(home: Home, outcome: Outcome) -> None:
    """Tell the running supervisord to take up its configuration; only what differs is restarted."""
    try:
        changes = Supervisor(home.supervisor_socket).apply()
    except SuperviseError as exc:
        raise ProvisionError(
            f"supervisord of {home.root}: {exc}. See {home.log}, then `make down` and `make up`"
        ) from exc
    for word, names in (("started", changes.added), ("restarted", changes.changed), ("stopped", changes.removed)):
        for name in sorted(names):
            outcome.did(f"{name} {word}")


def wait_until_answering(home: Home, deadline: float) -> None:
    """Return once engine and coordinator answer. Raises `ProvisionError` with the last lines of the silent one."""
    engine = Engine(home.engine_socket)
    _wait(lambda: _engine_answers(engine), "engine", home, deadline)
    _wait(lambda: health(home.settings.port) is not None, "coordinator", home, deadline)


def _engine_answers(engine: Engine) -> bool:
    try:
        engine.ask("status")
    except EngineUnreachable:
        return False
    except EngineError as exc:
        raise ProvisionError(f"engine: {exc}") from exc
    return True


def health(port: int, host: str = "127.0.0.1") -> bytes | None:
    """Body of GET /health on this machine, or None while nobody answers it with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _wait(answers: Callable[[], bool], program: str, home: Home, deadline: float) -> None:
    while not answers():
        if time.monotonic() > deadline:
            raise ProvisionError(
                f"{program}: started, but does not answer; the last lines it wrote:\n{tail(home, program)}"
            )
        time.sleep(0.05)


def tail(home: Home, program: str, lines: int = 15) -> str:
    """The last lines of every log of `program`."""
    found: list[str] = []
    for path in sorted(home.log.glob(f"{program}*")):
        with contextlib.suppress(OSError):
            found += [f"  | {line}" for line in _last(path, lines)]
    return "\n".join(found) or f"  (nothing in {home.log})"


def _last(path: Path, lines: int) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:]
