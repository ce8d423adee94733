"""When a release of a server may be started again. Pure: the clock is an argument. Used by `pool`."""

from typing import Any, Literal

DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STABLE_S = 10.0
"""A process that lived this long was started well: whatever ends it later starts the count anew."""


class Restarts:
    """Counts failed starts of one release and says when the next is due."""

    def __init__(self, policy: Literal["on-failure", "always", "never"]) -> None:
        self.policy = policy
        self.failures = 0
        self.retry_at = 0.0
        self.cause = ""
        self.stderr: list[str] = []
        self.barred = False
        """`restart: never`, and it has ended."""

    def failed(self, now: float, cause: str, stderr: list[str]) -> None:
        """A start failed, or the process died before it was stable."""
        self.retry_at = now + DELAYS_S[min(self.failures, len(DELAYS_S) - 1)]
        self.failures += 1
        self.cause = cause
        self.stderr = stderr
        self.barred = self.policy == "never"

    def ended(self, now: float, lived_s: float, cause: str, stderr: list[str]) -> None:
        """A process that had started well went away by itself."""
        if lived_s < STABLE_S:
            self.failed(now, cause, stderr)
            if self.failures == 1 and not self.barred:
                self.retry_at = now  # the first death is forgiven: the next call opens it again at once
            return
        self.failures = 0
        self.cause = cause
        self.stderr = stderr
        self.barred = self.policy == "never"

    def worked(self) -> None:
        """A process has answered the handshake; the count stays until one is stable."""
        self.retry_at = 0.0

    def stable(self) -> None:
        self.failures = 0

    def wait_s(self, now: float) -> float:
        """Seconds until a start may be tried; 0: now. Infinite when barred."""
        if self.barred:
            return float("inf")
        return max(0.0, self.retry_at - now)

    def story(self, now: float) -> tuple[str, dict[str, Any]]:
        """Why it is down and when it is tried again, in words and as data."""
        if self.barred:
            return f"{self.cause}; restart: never, so it stays down until the next deploy", {"stderr": self.stderr}
        wait_s = round(max(self.wait_s(now), 0.1), 1)
        return f"{self.cause}; next try in {wait_s} s", {"stderr": self.stderr, "retry_s": wait_s}
