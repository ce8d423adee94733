"""stdin and stdout as threads around blocking reads and writes: the one way that works on Linux, macOS and Windows.

`Stdin` cuts lines and hands batches to a callback (in its thread), at most a few unprocessed at a time. `Stdout` writes
lines in the order they were put. Bytes only; no text layer, no encodings. Called by `bridge`.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = 1 << 16
_BATCHES = 8
"""Batches handed over and not yet taken back: what the client may be ahead of the loop."""
_EDGE = 4096
_HEAD_ID = re.compile(rb'^\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*,')
_TAIL_ID = re.compile(rb',\s*"id"\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*\}\s*$')


@dataclass(frozen=True)
class Oversize:
    """A line over the limit, dropped. `id` is that of the message when its beginning or end shows it plainly."""

    size: int
    id: int | str | None


class Lines:
    """Cuts a byte stream into lines; drops, but reports, what is longer than `limit` bytes. Pure."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._part = bytearray()
        self._dropped = 0
        self._head = b""

    def feed(self, data: bytes) -> list[bytes | Oversize]:
        """The lines that `data` completes."""
        found: list[bytes | Oversize] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            piece = data[start:end]
            start = end + 1
            if not self._part and not self._dropped and len(piece) <= self.limit:
                found.append(piece)
            else:
                self._add(piece)
                found.append(self._take())
        if start < len(data):
            self._add(data[start:])
        return found

    def rest(self) -> list[bytes | Oversize]:
        """A last line without an end."""
        return [self._take()] if self._part or self._dropped else []

    def _add(self, piece: bytes) -> None:
        self._part += piece
        if len(self._part) > self.limit + 2 or self._dropped:  # + 2: "\r" and one blank are no part of the message
            if not self._dropped:
                self._head = bytes(self._part[:_EDGE])
            self._dropped += max(0, len(self._part) - _EDGE)
            del self._part[:-_EDGE]

    def _take(self) -> bytes | Oversize:
        part, dropped, head = bytes(self._part), self._dropped, self._head
        self._part.clear()
        self._dropped, self._head = 0, b""
        if dropped:
            return Oversize(dropped + len(part), _plain_id(head, part))
        if len(part.strip()) > self.limit:
            return Oversize(len(part), _plain_id(part[:_EDGE], part[-_EDGE:]))
        return part


def _plain_id(head: bytes, tail: bytes) -> int | str | None:
    match = _HEAD_ID.search(head) or _TAIL_ID.search(tail)
    if match is None:
        return None
    text = match[1].decode("utf-8", "replace")
    return text[1:-1] if text.startswith('"') else int(text)


class Stdin:
    """Reads file descriptor `fd` until its end. `on_lines(batch)` and `on_end()` are called in the reading thread."""

    def __init__(
        self,
        fd: int,
        limit: int,
        on_lines: Callable[[list[bytes | Oversize]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._fd = fd
        self._lines = Lines(limit)
        self._on_lines = on_lines
        self._on_end = on_end
        self._room = threading.Semaphore(_BATCHES)
        self._thread = threading.Thread(target=self._run, name="stdin", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def taken(self) -> None:
        """One batch was processed: there is room for another."""
        self._room.release()

    def _run(self) -> None:
        while True:
            try:
                data = os.read(self._fd, CHUNK)
            except OSError:
                data = b""
            lines = self._lines.feed(data) if data else self._lines.rest()
            if lines:
                self._room.acquire()
                self._on_lines(lines)
            if not data:
                self._on_end()
                return


class Stdout:
    """Writes lines to file descriptor `fd` in a thread. `on_broken()` is called there when the reader has gone;
    `on_room()` when, after `full`, most of what was put is written."""

    HIGH = 2 << 20
    LOW = 1 << 19

    def __init__(self, fd: int, on_broken: Callable[[], None], on_room: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._on_room = on_room
        self._ready = threading.Condition()
        self._items: list[bytes] = []
        self._size = 0
        self._ending = False
        self._was_full = False
        self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, lines: list[bytes]) -> bool:
        """Queue lines; False when too much is queued: the caller should wait for `on_room`."""
        with self._ready:
            for line in lines:
                self._items += (line, b"\n")
                self._size += len(line) + 1
            self._was_full = self._was_full or self._size > self.HIGH
            self._ready.notify()
            return not self._was_full

    def finish(self, timeout_s: float) -> None:
        """Write what is queued, for at most `timeout_s` seconds, and end."""
        with self._ready:
            self._ending = True
            self._ready.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._items and not self._ending:
                    self._ready.wait()
                items, self._items = self._items, []
            if not items:
                return
            data = b"".join(items)
            try:
                _write_all(self._fd, data)
            except OSError:
                self._on_broken()
                return
            with self._ready:
                self._size -= len(data)
                room = self._was_full and self._size < self.LOW
                self._was_full = self._was_full and not room
            if room:
                self._on_room()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            written = os.write(fd, view[: 1 << 20])
        except BlockingIOError:  # somebody made the pipe non-blocking
            threading.Event().wait(0.005)
            continue
        view = view[written:]
