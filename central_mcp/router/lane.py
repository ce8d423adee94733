"""A lane: the processes of one key, and the calls that wait for one. Holds, picks; decides nothing. Owned by `Pool`."""

from collections import deque

from .back import Back
from .call import Call


class Lane:
    """`key` is (principal, session, era), each empty where it makes no difference."""

    __slots__ = ("backs", "era", "key", "opening", "principal", "session", "waiting")

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.key = key
        self.principal, self.session, self.era = key
        self.backs: list[Back] = []
        self.waiting: deque[Call] = deque()
        self.opening = 0

    @property
    def open(self) -> int:
        """Calls under way or waiting."""
        return len(self.waiting) + sum(len(back.calls) for back in self.backs)

    def take_waiting(self) -> list[Call]:
        """All that wait; nobody waits afterwards."""
        taken = list(self.waiting)
        self.waiting.clear()
        return taken

    def best(self) -> Back | None:
        """The least busy process that takes calls."""
        found = None
        for back in self.backs:
            if back.usable and (found is None or len(back.calls) < len(found.calls)):
                found = back
        return found
