"""What ``/metrics`` returns, in Prometheus' text format: counts, times, and drift."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from lesionedge.drift import metrics as drift_metrics
from lesionedge.drift.difference import compare
from lesionedge.drift.statistics import Seen, Statistics

if TYPE_CHECKING:
    from lesionedge.drift.reference import Reference
    from lesionedge.prediction import Prediction

BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PATHS = frozenset({
    "/", "/predict", "/explain", "/v1/predict", "/v1/explain", "/live", "/model", "/health",
    "/metrics",
})  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


LATEST = 1000
"""Drift is that of so many images, the latest."""


class Metrics:
    """Counts, times and statistics; they hold nothing of single images or clients."""

    def __init__(
        self, *, waiting: Callable[[], float], places: int, reference: Reference | None = None
    ) -> None:
        """Start at zero.

        Args:
            waiting: Returns how many requests wait or run.
            places: How many may wait or run.
            reference: What images are compared with.
        """
        self._reference = reference
        self._seen: deque[Seen] = deque(maxlen=LATEST)
        self._seeing = threading.Lock()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "lesionedge_requests", "Requests handled", ["path", "method", "status"],
            registry=registry,
        )  # fmt: skip
        self._errors = Counter(
            "lesionedge_errors", "Requests refused or failed", ["status"], registry=registry
        )
        self._latency = Histogram(
            "lesionedge_request_seconds", "From a request's head to its response", ["path"],
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "lesionedge_stage_seconds", "Parts of classifying an image", ["stage"],
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        queue = Gauge("lesionedge_queue", "Requests that wait or run", registry=registry)
        queue.set_function(waiting)
        Gauge(
            "lesionedge_queue_limit", "How many requests may wait or run", registry=registry
        ).set(places)  # fmt: skip

    def responded(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a response."""
        path = path if path in PATHS else "other"
        method = method if method in _METHODS else "other"
        self._requests.labels(path, method, str(status)).inc()
        if status >= 400:
            self._errors.labels(str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def predicted(self, prediction: Prediction, timings_ms: Mapping[str, float]) -> None:
        """Record a prediction and the times of its parts."""
        with self._seeing:
            self._seen.append(Seen.of(prediction))
        for stage, took_ms in timings_ms.items():
            self._stages.labels(stage).observe(took_ms / 1000)

    def text(self) -> bytes:
        """Return all metrics."""
        with self._seeing:
            latest = tuple(self._seen)
        drift = compare(Statistics.of(latest), self._reference)
        return generate_latest(self._registry) + drift_metrics.text(drift).encode()
