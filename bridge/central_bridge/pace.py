"""When to try again, and when a silent peer is dead. Pure; `bridge` asks.

Backoff with full jitter (AWS, "Exponential Backoff And Jitter"), so that many laptops do not come back in one instant.
"""

from collections.abc import Callable
from dataclasses import dataclass

FIRST_S = 0.1
LONGEST_S = 10.0
SLOW_S = (10.0, 20.0)
"""After a refusal that waiting does not mend (wrong key): it may be mended by then."""
STABLE_S = 5.0
"""A connection that lived this long starts the backoff afresh."""


@dataclass
class Backoff:
    """Delays between attempts. `uniform(a, b)` is `random.uniform`."""

    uniform: Callable[[float, float], float]
    tries: int = 0

    def after_failure(self, final: bool) -> float:
        self.tries += 1
        if final:
            return self.uniform(*SLOW_S)
        return max(0.02, self.uniform(0.0, min(LONGEST_S, FIRST_S * 2**self.tries)))

    def after_loss(self, lived_s: float, at_once: bool) -> float:
        if lived_s >= STABLE_S or (at_once and self.tries == 0):
            self.tries = 0
        else:
            self.tries += 1
        if at_once and self.tries == 0:
            return self.uniform(0.0, 0.05)
        return self.uniform(0.0, min(LONGEST_S, FIRST_S * 2**self.tries))


@dataclass
class Pulse:
    """Keep-alive of one connection: a ping after `quiet` seconds of silence, dead when half of that brings nothing."""

    keepalive_s: float
    pinged: float | None = None
    unsent: int = 0
    wall: float | None = None

    @property
    def beat_s(self) -> float:
        """How often to ask."""
        return self.keepalive_s / 4

    def beat(self, now: float, heard: float, unsent: int, busy: bool, wall: float) -> str:
        """ "ping", "dead" or "" at `now`. Bytes leaving (`unsent` shrinks) are a sign of life: a big message may
        stand before the ping. A wall clock ahead of ours means that the machine slept."""
        slept = self.wall is not None and wall - self.wall > 3 * self.beat_s + 2
        moving = unsent < self.unsent
        self.wall, self.unsent = wall, unsent
        if self.pinged is not None:
            if heard >= self.pinged or moving:
                self.pinged = None
            elif now - self.pinged >= self.keepalive_s / 2:
                return "dead"
            else:
                return ""
        if slept or now - heard >= (self.beat_s if busy else self.keepalive_s):
            self.pinged = now
            return "ping"
        return ""
