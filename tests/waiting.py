"""Bounded waits on conditions, for slow shared machines. One scaled unit, so that one variable stretches every test."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

SECOND = float(os.environ.get("CENTRAL_TEST_SECOND", "1.0"))
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 30.0, every: float = 0.02) -> T:
    """Return the first true value of `condition()`; fail naming `what` after `timeout` scaled seconds."""
    end = time.monotonic() + timeout * SECOND
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * SECOND:.0f} s in vain for: {what} (last: {value!r})")
        time.sleep(every)
