"""The watch: do real calls of the new release fail more, or last longer, than those of the one before?

Pure: compares two readings of the router's counters. The engine's `serving` reads them and acts on the verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_ERRORS = 3
"""Failed calls below this are chance: one client's typo must not undo a release."""
MIN_CALLS = 20
"""A p95 of fewer calls says nothing."""
MIN_TOOL_ERRORS = 5
TOOL_ERRORS_MORE = 0.5
"""A tool's own `isError` is often the caller's doing, so only a landslide speaks against a release: half of all calls
more than before. (SDKs turn every exception of a tool into one.)"""
SLOW_IN_A_ROW = 5
"""Readings, a second apart, that must all be slow: a machine that is busy for a moment must not undo a release."""
SLOW_MS = 50.0
"""A p95 below this is fast, whatever it was before: twice 2 ms is noise."""


@dataclass(frozen=True)
class Thresholds:
    errors: float = 0.01
    """How much the share of failed calls may rise over the old release's (0.01: one percent of all calls)."""
    p95: float = 2.0
    """How many times longer the p95 may be than the old release's."""


@dataclass(frozen=True)
class Reading:
    """Counters of one server-release since the router started."""

    calls: int = 0
    errors: int = 0
    tool_errors: int = 0
    p95_ms: float = 0.0
    last_error: str = ""

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> "Reading":
        """From one entry of the router's `status`; what is missing counts as zero."""
        return cls(
            int(status.get("calls") or 0),
            int(status.get("errors") or 0),
            int(status.get("tool_errors") or 0),
            float(status.get("p95_ms") or 0.0),
            str(status.get("last_error") or ""),
        )

    @property
    def error_share(self) -> float:
        return self.errors / self.calls if self.calls else 0.0

    @property
    def tool_error_share(self) -> float:
        return self.tool_errors / self.calls if self.calls else 0.0


def since(start: Reading, now: Reading) -> Reading:
    """What happened between two readings. A router that restarted counts from zero: then all of `now`."""
    if now.calls < start.calls or now.errors < start.errors:
        return now
    return Reading(
        now.calls - start.calls,
        now.errors - start.errors,
        max(0, now.tool_errors - start.tool_errors),
        now.p95_ms,
        now.last_error,
    )


def verdict(before: Reading, now: Reading, limits: Thresholds) -> str:
    """Why the new release must go, or empty. `before`: the old one's life; `now`: the new one's since the switch."""
    if now.errors >= MIN_ERRORS and now.error_share > before.error_share + limits.errors:
        last = f"; the last: {now.last_error}" if now.last_error else ""
        return (
            f"{now.errors} of {now.calls} calls failed since the switch "
            f"({now.error_share:.0%}; before {before.error_share:.0%}){last}"
        )
    if now.tool_errors >= MIN_TOOL_ERRORS and now.tool_error_share > before.tool_error_share + TOOL_ERRORS_MORE:
        return (
            f"tools answered {now.tool_errors} of {now.calls} calls with an error since the switch "
            f"({now.tool_error_share:.0%}; before {before.tool_error_share:.0%})"
        )
    return ""


def slow(before: Reading, now: Reading, limits: Thresholds) -> str:
    """How much slower the new release is than the old one, or empty. Speaks against it only `SLOW_IN_A_ROW` times."""
    comparable = now.calls >= MIN_CALLS and before.calls >= MIN_CALLS and before.p95_ms > 0
    if comparable and now.p95_ms > max(SLOW_MS, before.p95_ms * limits.p95):
        return f"calls got slow: p95 {now.p95_ms:.0f} ms, before {before.p95_ms:.0f} ms"
    return ""
