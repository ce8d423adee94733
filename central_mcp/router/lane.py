"""A lane: the processes of one key, and the calls that wait for one. Holds and picks; when is the `Pool`'s to say."""

from .back import Back
from .call import Call


class Lane:
    """`key` is (principal, session, era), each empty where it makes no difference."""

    __slots__ = ("backs", "era", "key", "opening", "principal", "session", "waiting", "waiting_bytes")

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.key = key
        self.principal, self.session, self.era = key
        self.backs: list[Back] = []
        self.waiting: dict[Call, None] = {}
        """In order of arrival."""
        self.waiting_bytes = 0
        self.opening = 0

    @property
    def open(self) -> int:
        """Calls under way or waiting."""
        return len(self.waiting) + sum(len(back.calls) for back in self.backs)

    @property
    def choked(self) -> bool:
        """There are processes, but those that take calls read too slowly to be given another now."""
        return any(back.full and not back.leaving for back in self.backs)

    def give_up(self, since: float) -> bool:
        """A call that has waited `since` then timed out: what read and said nothing all the while takes no more calls.

        False: it did not wait for somebody to read.
        """
        if not self.choked:
            return False
        for back in self.backs:
            if back.full and back.heard < since:
                back.leaving = "it read nothing while a call timed out"
        return True

    def wait(self, call: Call) -> None:
        self.waiting[call] = None
        self.waiting_bytes += len(call.body)

    def leave(self, call: Call) -> None:
        """`call` waits no more; it need not have waited."""
        if call in self.waiting:
            del self.waiting[call]
            self.waiting_bytes -= len(call.body)

    def next_waiting(self) -> Call:
        """The call that has waited longest; it waits no more."""
        call = next(iter(self.waiting))
        self.leave(call)
        return call

    def take_waiting(self) -> list[Call]:
        """All that wait; nobody waits afterwards."""
        taken = list(self.waiting)
        self.waiting.clear()
        self.waiting_bytes = 0
        return taken

    def best(self) -> Back | None:
        """The least busy process that takes calls."""
        found = None
        for back in self.backs:
            if back.usable and (found is None or len(back.calls) < len(found.calls)):
                found = back
        return found
