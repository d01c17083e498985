"""How are sessions measured with Prometheus's client library?

For ``METRICS``; needs the extra ``prometheus``. Where a site serves its metrics is its own matter.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django_redis_sessions.metrics import Metrics

#: Upper bounds of the histogram of seconds: a command over a network takes about the first ones.
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

#: {name: (kind, labels, help)} of all metrics.
METRICS = {
    "redis_sessions_operation_seconds": (
        "histogram", ("operation", "outcome"), "Time that operations on sessions took."
    ),
    "redis_sessions_read_bytes_total": ("counter", (), "Bytes of the records that were read."),
    "redis_sessions_read_records_total": ("counter", (), "Records that were read."),
    "redis_sessions_written_bytes_total": ("counter", (), "Bytes of the records that were sent."),
    "redis_sessions_written_records_total": ("counter", (), "Records that were sent."),
    "redis_sessions_touches_total": ("counter", (), "Lives that were written without the session."),
    "redis_sessions_conflicts_total": ("counter", ("outcome",), "Sessions that others had saved meanwhile."),
    "redis_sessions_discarded_total": ("counter", ("reason",), "Stored sessions that were not used."),
    "redis_sessions_unavailable_total": ("counter", ("error",), "Attempts that Redis did not answer."),
}  # fmt: skip


class PrometheusMetrics(Metrics):
    """Keeps the ``METRICS`` in a registry of Prometheus's, the default one unless given."""

    def __init__(self, registry: Any = None) -> None:
        client = import_module("prometheus_client")
        registry = client.REGISTRY if registry is None else registry
        made: dict[str, Any] = {}
        for name, (kind, labels, text) in METRICS.items():
            if kind == "histogram":
                made[name] = client.Histogram(name, text, labels, buckets=BUCKETS, registry=registry)
            else:
                made[name] = client.Counter(name, text, labels, registry=registry)
        self._seconds = made["redis_sessions_operation_seconds"]
        self._read = made["redis_sessions_read_bytes_total"], made["redis_sessions_read_records_total"]
        self._written = (
            made["redis_sessions_written_bytes_total"],
            made["redis_sessions_written_records_total"],
        )
        self._touches = made["redis_sessions_touches_total"]
        self._conflicts = made["redis_sessions_conflicts_total"]
        self._discarded = made["redis_sessions_discarded_total"]
        self._unavailable = made["redis_sessions_unavailable_total"]

    def operated(self, operation: str, seconds: float, outcome: str) -> None:
        self._seconds.labels(operation, outcome).observe(seconds)

    def read(self, size: int) -> None:
        size_total, records = self._read
        size_total.inc(size)
        records.inc()

    def wrote(self, size: int) -> None:
        size_total, records = self._written
        size_total.inc(size)
        records.inc()

    def touched(self) -> None:
        self._touches.inc()

    def conflicted(self, outcome: str) -> None:
        self._conflicts.labels(outcome).inc()

    def discarded(self, reason: str) -> None:
        self._discarded.labels(reason).inc()

    def unavailable(self, error: str) -> None:
        self._unavailable.labels(error).inc()
