"""What a rollout tells: kept in state.db, read by whoever follows, lost and followed again from any number.

A full disk must not end a rollout: then events reach those who listen and are missing in the record.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import structlog

from .state import State, StateError, now

log = structlog.get_logger("engine.events")


class Feed:
    """The events of one rollout."""

    def __init__(self, state: State, rollout: int) -> None:
        self._state = state
        self.rollout = rollout
        self._kept = state.events(rollout)
        self._more = asyncio.Event()
        self._over = False

    def emit(self, event: dict[str, Any]) -> None:
        """Number, keep and hand out one event. Never raises."""
        n = len(self._kept) + 1
        full = {"rollout": self.rollout, "n": n, "at": round(now(), 3), **event}
        self._kept.append(full)
        try:
            self._state.do("add_event", rollout=self.rollout, n=n, at=full["at"], body=json.dumps(full))
        except StateError as exc:
            log.warning("event.not_kept", rollout=self.rollout, reason=str(exc))
        self._wake()

    def told(self, type: str) -> bool:
        """Whether an event of this type has been given out."""
        return any(event["type"] == type for event in self._kept)

    def close(self) -> None:
        """No more events: followers end."""
        self._over = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Every event behind number `after`, the coming ones too, until the rollout is over."""
        at = after
        while True:
            more = self._more
            for event in self._kept[at:]:
                at += 1
                yield event
            if at < len(self._kept):
                continue
            if self._over:
                return
            await more.wait()

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()
