"""One rollout of a project at a time: who holds the lock since when, and who waits for it how long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..rollout.errors import Busy
from .state import now

TELL_S = 1.0
"""Nobody needs to hear of a shorter wait: a playbook that has answered already is just ending."""


@dataclass(frozen=True)
class Holder:
    rollout: int
    who: str
    commit: str
    since: float

    def __str__(self) -> str:
        seconds = max(0, round(now() - self.since))
        return f"rollout {self.rollout} of {self.commit[:7]} by {self.who} has held it for {seconds} s"


class ProjectLocks:
    """In memory, so the kernel frees them with the engine; `engine.playbook` has the one that a playbook keeps."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._holders: dict[str, Holder] = {}

    def holder(self, project: str) -> Holder | None:
        return self._holders.get(project)

    @asynccontextmanager
    async def hold(
        self, project: str, rollout: int, who: str, commit: str, wait_s: float, waiting: Callable[[Holder], None]
    ) -> AsyncIterator[None]:
        """The lock, in order of arrival. `waiting` is told whom we wait for. Raises `Busy` after `wait_s` seconds."""
        lock = self._locks.setdefault(project, asyncio.Lock())
        loop = asyncio.get_running_loop()
        telling = loop.call_later(TELL_S, self._tell, project, waiting)
        try:
            async with asyncio.timeout(wait_s):
                await lock.acquire()
        except TimeoutError:
            raise Busy(
                f"the lock of project {project} is taken: {self._holders.get(project)}; waited {wait_s:.0f} s",
                hint="push again when it is done; `central status` tells",
            ) from None
        finally:
            telling.cancel()
        self._holders[project] = Holder(rollout, who, commit, now())
        try:
            yield
        finally:
            del self._holders[project]
            lock.release()

    def _tell(self, project: str, waiting: Callable[[Holder], None]) -> None:
        if (holder := self._holders.get(project)) is not None:
            waiting(holder)
