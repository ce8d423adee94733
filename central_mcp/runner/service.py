"""One server of the table: its listening socket, its processes, its log and its status file.

Owned by the runner's loop (main.py). A status file that cannot be written (full disk) is tried again until it can.
"""

import _socket
import os
import select
import sys
import time

from central_mcp.runner import processes, small
from central_mcp.runner.child import Child, spawn
from central_mcp.runner.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from central_mcp.runner.table import Entry

BACKLOG = 4096  # a full one is EAGAIN to the router, at once; the kernel caps it at net.core.somaxconn
STATUS_AGAIN_S = 1.0


class Service:
    def __init__(self, entry: "Entry") -> None:
        self.entry = entry
        self.children: dict[int, Child] = {}
        self.log = Log(entry.log)
        self.listener: _socket.socket | None = None
        self._inode = 0
        self._since = time.time()
        self._starts = 0
        self._exits = 0
        self._noise = 0
        self._last: dict[str, object] | None = None
        self._status_at = 0.0
        """When the status file is due, by the monotonic clock."""

    def listen(self) -> None:
        """Bind under another name, listen, rename into place: who finds the socket can connect. Raises `OSError`."""
        path = self.entry.socket
        temporary = path.removesuffix(".sock") + ".new"
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        if os.path.lexists(temporary):
            os.unlink(temporary)
        listener.bind(temporary)
        strangers = set(self.entry.uids) - {0, os.getuid()}
        os.chmod(temporary, 0o666 if strangers else 0o600)  # SO_PEERCRED is what decides, see _allowed
        listener.listen(BACKLOG)
        self._inode = os.stat(temporary).st_ino
        os.rename(temporary, path)
        self.listener = listener

    def unlisten(self) -> None:
        """Take no more connections. A socket that another runner has put in the place of ours stays."""
        if self.listener is None:
            return
        if not self._superseded() and os.path.lexists(self.entry.socket):
            os.unlink(self.entry.socket)
        self.listener.close()
        self.listener = None
        self.changed()

    def accept(self) -> Child | None:
        """Take one connection and start the server on it; None if it was refused. Raises `OSError`."""
        assert self.listener is not None
        descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        connection = _socket.socket(fileno=descriptor)
        if _hung_up(connection):
            connection.close()
            return None
        refusal = self._refusal(connection)
        if refusal:
            self.say(refusal)
            connection.close()
            return None
        try:
            child = spawn(self.entry, connection)
        except OSError:
            connection.close()
            raise
        self.children[child.pid] = child
        self._starts += 1
        self.changed()
        return child

    def _refusal(self, connection: _socket.socket) -> str:
        credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        pid, uid = (int.from_bytes(credentials[at : at + 4], sys.byteorder) for at in (0, 4))
        if uid not in self.entry.uids:
            return f"refused a connection from uid {uid} (pid {pid}): only {self.entry.uids} may connect"
        if len(self.children) >= self.entry.connections:
            return f"refused a connection: {len(self.children)} are open, the most that this server may have"
        return ""

    def take(self, child: Child) -> bool:
        """Move one read of `child`'s stderr into the log. False when there is nothing more."""
        before = child.lines.count
        lines = child.read()
        if lines:
            self.log.write(lines, child.pid)
        if child.lines.count != before:
            self._noise += child.lines.count - before
            self.changed(STATUS_AGAIN_S)
        return lines is not None and not child.at_end

    def ended(self, child: Child, status: int) -> None:
        """`child` and its group are dead: tell its peer at once, remember its end."""
        child.hang_up()
        for _ in range(16):  # a pipe's worth
            if not self.take(child):
                break
        del self.children[child.pid]
        self._exits += 1
        self._last = last = child.last(status)
        how = f"signal {last['signal']}" if last["signal"] else f"code {last['code']}"
        self.say(
            f"process {child.pid} ended: {how} after {last['lived_s']} s{f' ({child.reason})' if child.reason else ''}"
        )
        self.changed()

    def say(self, text: str) -> None:
        """The runner's own word in the server's log."""
        self.log.write([text.encode("utf-8", "replace")], "runner")

    def changed(self, within: float = 0.0) -> None:
        """The status file is to be written, now or within so many seconds."""
        due = time.monotonic() + within
        self._status_at = min(self._status_at, due) if self._status_at else due

    @property
    def next_at(self) -> float:
        """When `tick` has something to do next."""
        return min([self._status_at or float("inf"), *(child.next_at for child in self.children.values())])

    def tick(self, now: float) -> None:
        for child in self.children.values():
            if now >= child.next_at:
                child.tick(now)
        if self._status_at and now >= self._status_at:
            self._status_at = 0.0
            if not self._write_status():
                self.changed(STATUS_AGAIN_S)

    def _write_status(self) -> bool:
        entry = self.entry
        if self.listener is None and self._superseded():
            return True
        status = {
            "id": entry.id,
            "name": entry.name,
            "release": entry.release,
            "runner": os.getpid(),
            "since": self._since,
            "listening": self.listener is not None,
            "children": [{"pid": child.pid, "since": child.since} for child in self.children.values()],
            "starts": self._starts,
            "exits": self._exits,
            "noise": self._noise,
            "last": self._last,
        }
        temporary = f"{entry.status}.new"
        try:
            with open(temporary, "w") as file:
                file.write(small.dumps(status) + "\n")
            os.replace(temporary, entry.status)
        except OSError:
            return False
        return True

    def _superseded(self) -> bool:
        """Another runner of this socket has started: the status file is its own."""
        try:
            return os.stat(self.entry.socket).st_ino != self._inode
        except OSError:
            return False

    def end_left_overs(self) -> None:
        """End what a killed runner of this socket left. Its status says whether there can be anything."""
        try:
            with open(self.entry.status) as file:
                old = small.loads(file.read())
        except (OSError, ValueError):
            return
        if isinstance(old, dict) and old.get("children") and old.get("runner") != os.getpid():
            self._last = old.get("last")
            while processes.kill_marked(self.entry.socket):
                time.sleep(0.01)


def _hung_up(connection: _socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return bool(poll.poll(0))
