"""The runner: `python -I -S main.py TABLE.json`. Each connection to a server's socket becomes a process of that server.

The connection is the process's stdin and stdout, so nothing of ours sits in the data path. One loop, one thread:
accept, spawn, read stderr, reap, end what must end. Standard library only; supervisord starts it.
"""

import os
import select
import sys
import time

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

# below that line, since -I leaves the package off the path
from central_mcp.runner import processes, small
from central_mcp.runner.service import Service
from central_mcp.runner.small import signals
from central_mcp.runner.table import TableError, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from central_mcp.runner.child import Child

BREATH_S = 0.05  # after a failed accept or fork: the machine is short of something
LAST_SWEEP_S = 5.0


class Runner:
    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._poll = select.poll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._callers: list[Service] = []
        self._stopping = False
        self._wake = -1

    def run(self) -> int:
        """Serve until SIGTERM, then end every process. Raises `OSError` when a socket cannot be bound."""
        self._catch_signals()
        for service in self._services:
            service.end_left_overs()
            service.listen()
            assert service.listener is not None
            self._watch(service.listener.fileno(), select.POLLIN, self._accepter(service))
            service.changed()
        while not (self._stopping and not self._living()):
            self._turn()
        self._sweep_all()
        for service in self._services:
            service.tick(float("inf"))
        return 0

    def _turn(self) -> None:
        next_at = min(service.next_at for service in self._services)
        timeout = None if next_at == float("inf") else max(0.0, (next_at - time.monotonic()) * 1000 + 1)
        for descriptor, event in self._poll.poll(timeout):
            ready = self._ready.get(descriptor)  # None: an earlier one of this round has closed it
            if ready is not None:
                ready(event)
        while self._callers:  # after the rest, since a new connection may get the number of one closed in this round
            self._accept(self._callers.pop())
        now = time.monotonic()
        for service in self._services:
            service.tick(now)

    # connections

    def _accepter(self, service: Service) -> "Callable[[int], None]":
        return lambda event: self._callers.append(service)

    def _accept(self, service: Service) -> None:
        if service.listener is None:
            return
        try:
            child = service.accept()
        except OSError as exc:
            service.say(f"cannot take a connection: {exc.strerror}")
            time.sleep(BREATH_S)
            return
        if child is not None:
            self._adopt(service, child)

    def _adopt(self, service: Service, child: "Child") -> None:
        connection = child.connection.fileno()

        def hung_up(event: int) -> None:
            # POLLHUP only: a peer that merely shut its writing side still reads the last answer
            self._forget(connection)
            grace = service.entry.grace_s
            child.end(
                f"its connection was closed and it did not end within {grace / 2:g} s",
                time.monotonic(),
                grace / 2,
                grace,
            )

        def readable(event: int) -> None:
            service.take(child)
            if child.at_end:
                self._close_stderr(child)

        self._watch(connection, 0, hung_up)
        self._watch(child.stderr, select.POLLIN, readable)

    def _close_stderr(self, child: "Child") -> None:
        self._forget(child.stderr)
        os.close(child.stderr)
        child.stderr = -1

    # processes

    def _living(self) -> "dict[int, Child]":
        return {pid: child for service in self._services for pid, child in service.children.items()}

    def _reap(self) -> None:
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if dead is None:
                break
            service = next((each for each in self._services if dead.si_pid in each.children), None)
            if service is not None:
                processes.kill_group(dead.si_pid, signals.SIGKILL)  # before the pid may be given to another
            _, status = os.waitpid(dead.si_pid, 0)
            if service is not None:
                child = service.children[dead.si_pid]
                self._forget(child.connection.fileno())
                service.ended(child, status)
                if child.at_end and child.stderr >= 0:
                    self._close_stderr(child)
        processes.kill_orphans(self._living())

    def _sweep_all(self) -> None:
        """Before the end: whatever was adopted ends, too."""
        end = time.monotonic() + LAST_SWEEP_S
        while processes.children_of(os.getpid()) and time.monotonic() < end:
            self._reap()
            time.sleep(0.01)

    # signals and readiness

    def _catch_signals(self) -> None:
        self._wake, write_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write_end, False)
        signals.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT):
            signals.signal(number, lambda number, frame: None)
        self._watch(self._wake, select.POLLIN, self._signalled)

    def _signalled(self, event: int) -> None:
        received = os.read(self._wake, 4096)
        if signals.SIGTERM in received or signals.SIGINT in received:
            self._stop()
        self._reap()

    def _stop(self) -> None:
        """Take no more; SIGTERM now, SIGKILL after the grace time. Asked twice: SIGKILL now."""
        now = time.monotonic()
        for service in self._services:
            if service.listener is not None:
                self._forget(service.listener.fileno())
            service.unlisten()
            for child in service.children.values():
                child.end("the runner was stopped", now, 0, 0 if self._stopping else service.entry.grace_s)
        self._stopping = True

    def _watch(self, descriptor: int, events: int, ready: "Callable[[int], None]") -> None:
        self._ready[descriptor] = ready
        self._poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        if self._ready.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -I -S main.py TABLE.json", file=sys.stderr)
        return 2
    try:
        services = [Service(entry) for entry in read_table(arguments[0])]
        small.child_subreaper()
        small.end_with_parent()
        return Runner(services).run()
    except (TableError, OSError) as exc:
        print(f"runner: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
