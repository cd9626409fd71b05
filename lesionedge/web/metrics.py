"""The counts and times that ``/metrics`` returns, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PATHS = frozenset({
    "/", "/predict", "/explain", "/v1/predict", "/v1/explain", "/live", "/model", "/health",
    "/metrics",
})  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class Metrics:
    """Counts and times; they hold no data of images or clients."""

    def __init__(self, *, waiting: Callable[[], float], places: int) -> None:
        """Start at zero.

        Args:
            waiting: Returns how many requests wait or run.
            places: How many may wait or run.
        """
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

    def predicted(self, timings_ms: Mapping[str, float]) -> None:
        """Record the parts of a prediction."""
        for stage, took_ms in timings_ms.items():
            self._stages.labels(stage).observe(took_ms / 1000)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)
