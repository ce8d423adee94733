"""What this coordinator process counted. Plain integers on the hot path; prometheus-client only renders them.

Each process counts for itself and says so by its `process` label: with several coordinators on one port, a scrape
reaches one of them, and the label keeps their series apart.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, upper bounds."""


class _Calls:
    __slots__ = ("buckets", "errors", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.errors = 0
        self.seconds = 0.0


class Metrics:
    """Counters of one process; a prometheus collector."""

    def __init__(self, process: str = "") -> None:
        self.process = process or f"coordinator-{os.getpid()}"
        self.refused = 0
        """Requests turned away for their Host, Origin or key."""
        self.malformed = 0
        self.gauges: dict[str, Callable[[], float]] = {}
        self._calls: dict[str, _Calls] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def called(self, server: str, seconds: float, failed: bool) -> None:
        """One call has been answered; `failed`: by a JSON-RPC error."""
        calls = self._calls.get(server)
        if calls is None:
            calls = self._calls[server] = _Calls()
        calls.buckets[bisect_left(BUCKETS, seconds)] += 1
        calls.seconds += seconds
        if failed:
            calls.errors += 1

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        labels = ["process", "server"]
        seconds = HistogramMetricFamily(
            "central_call_seconds", "Time from a call's arrival to its answer", labels=labels
        )
        errors = CounterMetricFamily("central_call_errors", "Calls answered by a JSON-RPC error", labels=labels)
        for server, calls in self._calls.items():
            total, cumulated = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), calls.buckets, strict=True):
                total += count
                cumulated.append((bound, total))
            seconds.add_metric([self.process, server], cumulated, calls.seconds)
            errors.add_metric([self.process, server], calls.errors)
        yield seconds
        yield errors
        for name, value in (("refused_requests", self.refused), ("malformed_messages", self.malformed)):
            counter = CounterMetricFamily(f"central_{name}", name.replace("_", " "), labels=["process"])
            counter.add_metric([self.process], value)
            yield counter
        for name, read in self.gauges.items():
            gauge = GaugeMetricFamily(f"central_{name}", name.replace("_", " "), labels=["process"])
            gauge.add_metric([self.process], read())
            yield gauge
