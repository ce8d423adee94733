"""How many servers start at once: bounded by cores, each server in its turn.

Starting costs CPU in its first seconds only, so a place is given back after `HOLD_S` even when the server has not
answered yet: a hanging one cannot keep the others waiting. Used by `opening`.
"""

import asyncio
import os
from collections import OrderedDict, deque

HOLD_S = 1.0


class Spawns:
    """`release = await spawns.enter(server)`; call `release()` when the start is over, however it ended."""

    def __init__(self, limit: int | None = None, hold_s: float = HOLD_S) -> None:
        self._free = limit or max(4, 2 * (os.cpu_count() or 1))
        self._hold_s = hold_s
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    async def enter(self, server: str) -> "Place":
        """Wait for a place. Among waiting servers the places go round."""
        if self._free > 0 and not self._queues:
            self._free -= 1
            return Place(self, self._hold_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(server, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise
        return Place(self, self._hold_s)

    def give_back(self) -> None:
        """One place is free: the next server's turn."""
        while self._queues:
            server, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[server] = queue  # at the end of the round
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """A place among those that start; left once, by the first of `leave` and the time limit."""

    def __init__(self, spawns: Spawns, hold_s: float) -> None:
        self._spawns = spawns
        self._left = False
        self._timer = asyncio.get_running_loop().call_later(hold_s, self.leave)

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._timer.cancel()
            self._spawns.give_back()
