"""Notice a new snapshot and hand it over. A bad file is reported and the old snapshot stays."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from .model import Snapshot
from .store import SNAPSHOT, RegistryError, read

INTERVAL_S = 0.1
"""One stat() of one file, ten times a second: about 2 us each, and no notification interface to differ by platform."""

log = structlog.get_logger("registry")


class Watch:
    """Calls `changed(snapshot)` in the loop's thread, first at `start()`, then for each new file."""

    def __init__(self, registry: Path, changed: Callable[[Snapshot], None]) -> None:
        self._registry = registry
        self._changed = changed
        self._seen: tuple[int, int, int] | None = None
        self._refused: tuple[int, int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.current = Snapshot(version=0)

    def start(self) -> None:
        """Read once now (raises `RegistryError`), then watch."""
        self._seen = self._stamp()
        self._take(read(self._registry))
        self._schedule()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refresh(self) -> Snapshot:
        """Look now instead of at the next tick; returns the snapshot in force."""
        stamp = self._stamp()
        if stamp != self._seen:
            try:
                snapshot = read(self._registry)
            except RegistryError as exc:  # looked at again: we may only be out of descriptors
                if stamp != self._refused:
                    log.error("snapshot.refused", reason=str(exc), serving=self.current.version)
                self._refused = stamp
            else:
                self._seen = stamp
                if snapshot.version != self.current.version:
                    self._take(snapshot)
        return self.current

    def _take(self, snapshot: Snapshot) -> None:
        self.current = snapshot
        self._changed(snapshot)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self._registry / SNAPSHOT)
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        self._schedule()  # first, so that a fault in `changed` does not end the watch
        self.refresh()
