"""Why a server's process ended: read from the status file that its runner keeps (`run/<id>.status`).

The runner writes it just after the process is gone, and the router sees the connection close a little earlier; so
`wait` looks again for a moment. Used by `opening` and `pool`.
"""

import asyncio
import hashlib
import time
from pathlib import Path

import msgspec

WAIT_S = 1.5
_LOOK_S = 0.03
_CLOCKS_S = 0.05
LINES = 10
"""Of the last lines of stderr, so many travel with an error."""


class Exit(msgspec.Struct, frozen=True):
    code: int | None = None
    signal: str | None = None
    at: float = 0.0
    lived_s: float = 0.0
    stderr: list[str] = []

    @property
    def text(self) -> str:
        """`exited with code 1: ModuleNotFoundError: ...`"""
        how = f"was killed by {self.signal}" if self.signal else f"exited with code {self.code}"
        last = next((line.strip() for line in reversed(self.stderr) if line.strip()), "")
        return f"{how}: {last[:300]}" if last else how


class Status(msgspec.Struct, frozen=True):
    exits: int = 0
    noise: int = 0
    last: Exit | None = None


GONE = Exit(code=None)
_decode = msgspec.json.Decoder(Status).decode


def identity(server: str, release: int) -> str:
    """The 12 hex digits that name socket, status and table of one server-release."""
    return hashlib.sha256(f"{server}@{release}".encode()).hexdigest()[:12]


def read(path: Path) -> Status:
    """What the file says now; an unreadable one reads as nothing known."""
    try:
        return _decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return Status()


async def wait(path: Path, exits_before: int, since: float, patience_s: float = WAIT_S) -> Exit | None:
    """The exit that was written after `since` (Unix time) and beyond `exits_before`; None when none is seen in time."""
    end = time.monotonic() + patience_s
    while True:
        status = read(path)
        if status.last is not None and status.exits > exits_before and status.last.at >= since - _CLOCKS_S:
            return status.last
        if time.monotonic() > end:
            return None
        await asyncio.sleep(_LOOK_S)
