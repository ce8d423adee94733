"""A server's stderr on disk: lines with time and pid, capped in length, rate and size. Never blocks, never fails.

A full disk costs lines, not the runner and not the server. Several runners (two releases during a switch) may share
one file: writes append, and rotation is agreed upon by a lock on the file itself.
"""

import fcntl
import os
import time

LINE_BYTES = 8 << 10
ROTATE_BYTES = 1 << 20
KEEP = 3
_PRINTABLE = bytes(c if c >= 32 or c == 9 else 63 for c in range(256))  # no terminal control reaches who reads a log


class Log:
    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self.lost = 0
        """Lines that could not be written since the last one that could."""

    def write(self, lines: "list[bytes]", who: int | str) -> None:
        """Append `lines`; what the disk does not take is counted and said with the next line that it takes."""
        stamp = f"{timestamp(time.time())} {who} ".encode()
        if self.lost:
            lines = [f"({self.lost} lines before this one were lost: the log could not be written)".encode(), *lines]
        data = b"".join(stamp + line.translate(_PRINTABLE) + b"\n" for line in lines)
        try:
            self._open()
            complete = os.write(self._fd, data) == len(data)
        except OSError:
            self.close()
            complete = False
        self.lost = 0 if complete else self.lost + len(lines) - (1 if self.lost else 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """Have the descriptor of the file that `path` names now, and that file below its cap."""
        for _ in range(3):  # another runner may rotate between our looks
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            if not self._current():
                self.close()
            elif os.fstat(self._fd).st_size < ROTATE_BYTES:
                return
            else:
                self._rotate()
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _current(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._fd)
        return (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev)

    def _rotate(self) -> None:
        fcntl.flock(
            self._fd, fcntl.LOCK_EX
        )  # held for a few renames by whoever rotates first; the next finds another file
        if self._current():
            for number in range(KEEP - 1, 0, -1):
                if os.path.exists(f"{self._path}.{number}"):
                    os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
            os.replace(self._path, f"{self._path}.1")
        self.close()


def timestamp(now: float) -> str:
    """2026-11-21T01:02:03.456Z"""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"


class Lines:
    """Cuts a stream of bytes into lines, keeps the last ones, drops the middle of a flood."""

    TAIL = 20
    FLOOD_BYTES = 1 << 20  # per second and process: beyond it lines are counted, not kept

    def __init__(self) -> None:
        self.tail: list[str] = []
        self.count = 0
        self._partial = b""
        self._cutting = False
        self._second = 0
        self._bytes = 0
        self._left_out = 0

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The complete lines that `data` brings, each at most LINE_BYTES."""
        if int(now) != self._second:
            self._second, self._bytes = int(now), 0
        self._bytes += len(data)
        if self._bytes > self.FLOOD_BYTES:
            newlines = data.count(b"\n")
            self._left_out += newlines
            self.count += newlines
            self._partial, self._cutting = b"", not data.endswith(b"\n")
            return []
        lines: list[bytes] = []
        if self._left_out:
            lines.append(
                f"({self._left_out} lines left out: more than {self.FLOOD_BYTES >> 20} MiB in one second)".encode()
            )
            self._left_out = 0
        *whole, rest = (self._partial + data).split(b"\n")
        for line in whole:
            if self._cutting:
                self._cutting = False
            else:
                lines.append(self._cut(line.rstrip(b"\r")))
            self.count += 1
        if self._cutting:
            rest = b""
        elif len(rest) > LINE_BYTES:
            lines.append(self._cut(rest))
            rest, self._cutting = b"", True
        self._partial = rest
        self._remember(lines)
        return lines

    def end(self) -> list[bytes]:
        """What is left when the stream ends without a newline."""
        rest, self._partial = self._partial, b""
        if not rest:
            return []
        self.count += 1
        self._remember([rest])
        return [rest]

    def _cut(self, line: bytes) -> bytes:
        return line if len(line) <= LINE_BYTES else line[:LINE_BYTES] + b" ... (cut)"

    def _remember(self, lines: list[bytes]) -> None:
        new = [line[:2000].translate(_PRINTABLE).decode("utf-8", "replace") for line in lines[-self.TAIL :]]
        self.tail = [*self.tail, *new][-self.TAIL :]
