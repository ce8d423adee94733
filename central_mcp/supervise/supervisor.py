"""supervisord's RPC, over its unix socket: take up a changed configuration, start, stop, look. Blocking, bounded.

Never asks for all processes: that costs supervisord a second at a thousand programs (the router knows who serves).
"""

import enum
import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ProgramError, SupervisorDown

TIMEOUT_S = 30.0
"""Seconds for one answer; reading a configuration of 1000 programs takes supervisord 0.3 s, or more when crowded."""
REMOVED_S = 120.0
"""Seconds for programs to stop; supervisord itself kills what outstays its stopwaitsecs."""
POLL_S = 0.05
SHUTDOWN_STATE, BAD_NAME, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED, STILL_RUNNING = 6, 10, 60, 70, 90, 91


class State(enum.IntEnum):
    """supervisord's process states, with its numbers."""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


@dataclass(frozen=True)
class ProcessState:
    """One process of a program."""

    name: str
    """`git@12:0`"""
    state: State
    pid: int
    exit_status: int
    """Of its last end, as far as supervisord tells: -1 for a signal, 0 also for a death before `start_s`."""
    spawn_error: str
    since: float
    """Unix time of its last start; 0 before the first."""
    output: tuple[str, ...] = ()
    """Last lines that it wrote to its log file."""


@dataclass(frozen=True)
class Changes:
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _Connection(self._path, self._timeout_s)
        self._connection = host, connection  # what `close` closes
        return connection


class Supervisor:
    """Every method raises `SupervisorDown` when supervisord does not answer. One connection a call: none goes stale."""

    def __init__(self, socket: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    def apply(self, *, keep: Collection[str] = ()) -> Changes:
        """Make supervisord run what is configured: stop what is gone, restart what differs, start what is new.

        Touches nothing else, and never a program named in `keep` (a program must not restart itself). Safe to repeat
        after a failure. Raises `ProgramError`, also when supervisord refuses the configuration and keeps the old one.
        """
        try:
            [[added, changed, removed]] = self._call("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise ProgramError("configuration", f"supervisord refused it and keeps the old one: {fault}") from fault
        changed = [name for name in changed if name not in keep]
        removed = [name for name in removed if name not in keep]
        self._take_out([*changed, *removed])
        refused = self._multicall("addProcessGroup", [(name,) for name in (*changed, *added)])
        for name, why in refused.items():
            if why.faultCode != ALREADY_ADDED:
                raise ProgramError(name, _reason(why))
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def state(self, name: str) -> ProcessState:
        """Of a program's one process, or of the least healthy of several. Raises `ProgramError` for an unknown name."""
        return max(self.processes(name), key=lambda process: _BADNESS[process.state])

    def processes(self, name: str) -> list[ProcessState]:
        """Of all processes of a program. Raises `ProgramError` for an unknown name."""
        found: list[ProcessState] = []
        while True:
            try:
                info = self._call("getProcessInfo", f"{name}:{len(found)}")
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != BAD_NAME or not found:
                    raise ProgramError(name, _reason(fault)) from fault
                return found
            found.append(_state_of(info))

    def start(self, name: str) -> None:
        """Start what is stopped, or waits after a quick death. Raises `ProgramError`; running already is fine."""
        if any(process.state is State.BACKOFF for process in self.processes(name)):
            self._expect([NOT_RUNNING], name, "stopProcessGroup", name, False)
        self._expect([ALREADY_STARTED], name, "startProcessGroup", name, False)

    def stop(self, name: str, timeout_s: float = 60.0) -> None:
        """Stop it and wait for its end. Raises `ProgramError`; stopped already is fine."""
        self._expect([NOT_RUNNING], name, "stopProcessGroup", name, False)
        self._until_stopped(name, time.monotonic() + timeout_s)

    def stop_all(self, timeout_s: float = 60.0) -> None:
        """End all programs at the same time. supervisord's own shutdown ends one group after the other."""
        Supervisor(self._socket, timeout_s)._call("stopAllProcesses")

    def shutdown(self) -> None:
        """Ask supervisord to end. Call `stop_all` before."""
        self._call("shutdown")

    def pid(self) -> int:
        return int(self._call("getPID"))

    def answers(self) -> bool:
        try:
            return self.pid() > 0
        except (SupervisorDown, xmlrpc.client.Fault):
            return False

    # below: one call, and what its faults mean

    def _call(self, method: str, *arguments: Any) -> Any:
        with xmlrpc.client.ServerProxy("http://localhost", _Transport(self._socket, self._timeout_s)) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as exc:
                raise self._down(exc) from exc
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == SHUTDOWN_STATE:
                    raise SupervisorDown(f"supervisord at {self._socket} is shutting down") from fault
                raise

    def _multicall(self, method: str, calls: Sequence[tuple[Any, ...]]) -> dict[str, xmlrpc.client.Fault]:
        """The same call for many names in one request; what failed, by the call's first argument."""
        wanted = [{"methodName": f"supervisor.{method}", "params": list(arguments)} for arguments in calls]
        if not wanted:
            return {}
        with xmlrpc.client.ServerProxy("http://localhost", _Transport(self._socket, self._timeout_s)) as proxy:
            try:
                results: Any = proxy.system.multicall(wanted)
            except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as exc:
                raise self._down(exc) from exc
        return {
            str(arguments[0]): xmlrpc.client.Fault(result["faultCode"], result["faultString"])
            for arguments, result in zip(calls, results, strict=True)
            if isinstance(result, dict) and "faultCode" in result
        }

    def _down(self, cause: Exception) -> SupervisorDown:
        return SupervisorDown(f"supervisord does not answer at {self._socket}: {cause}. `central doctor` tells more")

    def _expect(self, fine: Collection[int], name: str, method: str, *arguments: Any) -> None:
        try:
            results = self._call(method, *arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in fine:
                raise ProgramError(name, _reason(fault)) from fault
            return
        for result in results if isinstance(results, list) else ():
            if result.get("status") not in (80, *fine):
                raise ProgramError(name, str(result.get("description")))

    def _take_out(self, names: Collection[str]) -> None:
        """Stop the processes of all `names` at the same time, then remove them.

        Not by stopProcessGroup: supervisord does those one after the other, half a second each.
        """
        existing, number = list(names), 0
        while existing:
            faults = self._multicall("stopProcess", [(f"{name}:{number}", False) for name in existing])
            gone = {name for name, fault in faults.items() if fault.faultCode == BAD_NAME}
            existing = [name for name in existing if f"{name}:{number}" not in gone]
            number += 1
        left = list(names)
        deadline = time.monotonic() + REMOVED_S
        while left:
            faults = self._multicall("removeProcessGroup", [(name,) for name in left])
            left = [name for name, fault in faults.items() if fault.faultCode != BAD_NAME]
            if left and (faults[left[0]].faultCode != STILL_RUNNING or time.monotonic() > deadline):
                raise ProgramError(left[0], f"{_reason(faults[left[0]])}; its log and supervisord.log tell more")
            time.sleep(POLL_S if left else 0)

    def _until_stopped(self, name: str, deadline: float) -> None:
        stopped = {State.STOPPED, State.EXITED, State.FATAL, State.UNKNOWN}
        while any(process.state not in stopped for process in self.processes(name)):
            if time.monotonic() > deadline:
                raise ProgramError(name, "does not stop; its log and supervisord.log tell more")
            time.sleep(POLL_S)


_BETTER_TO_WORSE = ["RUNNING", "STARTING", "STOPPING", "STOPPED", "EXITED", "BACKOFF", "UNKNOWN", "FATAL"]
_BADNESS = {State[name]: rank for rank, name in enumerate(_BETTER_TO_WORSE)}


def _state_of(info: dict[str, Any]) -> ProcessState:
    return ProcessState(
        name=f"{info['group']}:{info['name']}",
        state=State(info["state"]),
        pid=info["pid"],
        exit_status=info["exitstatus"],
        spawn_error=info["spawnerr"],
        since=float(info["start"]),
        output=_tail(Path(info["stdout_logfile"])) if info["stdout_logfile"] else (),
    )


def _tail(path: Path, lines: int = 20) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ()


def _reason(fault: xmlrpc.client.Fault) -> str:
    """supervisord's `NO_FILE: can't find command '/x'` as a sentence."""
    if fault.faultCode == BAD_NAME:
        return "supervisord has no such program; apply the configuration first"
    return fault.faultString.lower().replace("_", " ", 1)
