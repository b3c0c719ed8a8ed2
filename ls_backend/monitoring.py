"""What a person and Prometheus can see of the server: counts, times, the last errors."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam2_engine.errors import MissingDependencyError

KEPT_TIMES = 500
KEPT_ERRORS = 20
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Borders of the histogram of times."""

Gauges = Callable[[], Mapping[str, float]]
"""Numbers that hold now, by name, such as ``queue_waiting``."""


@dataclass(frozen=True, slots=True)
class SeenError:
    """An error that was answered.

    Attributes
    ----------
    at : seconds since 1970
    request_id : also in the log and in the answer
    endpoint, kind, detail : where, its class, what it said
    """

    at: float
    request_id: str
    endpoint: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of the last requests of an endpoint, in milliseconds."""

    endpoint: str
    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float


class Monitor:
    """Counts requests; thread-safe.

    Parameters
    ----------
    gauges : asked for whenever somebody looks

    Raises
    ------
    MissingDependencyError
        prometheus_client is not installed.
    """

    def __init__(self, gauges: Gauges) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Histogram
        except ImportError as error:
            raise MissingDependencyError(
                "the Label Studio server counts with prometheus_client: pip install 'sam2-tools[label-studio]'"
            ) from error
        self.started_at = time.time()
        # A registry of its own: several servers in one process, as in tests, must not meet.
        self.registry = CollectorRegistry()
        self._requests = Counter("sam2_requests", "Requests answered", ["endpoint", "status"], registry=self.registry)
        self._seconds = Histogram(
            "sam2_request_seconds", "Time to answer", ["endpoint"], buckets=SECONDS, registry=self.registry
        )
        self._errors = Counter("sam2_errors", "Errors answered", ["endpoint", "kind"], registry=self.registry)
        self.registry.register(_GaugeCollector(gauges))
        self._times: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        self._last: deque[SeenError] = deque(maxlen=KEPT_ERRORS)
        self._lock = threading.Lock()

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request.

        Parameters
        ----------
        endpoint : a name of ours, never an address that somebody sent: every new one is a new series
        """
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
        with self._lock:
            self._counts[endpoint] = self._counts.get(endpoint, 0) + 1
            self._times.setdefault(endpoint, deque(maxlen=KEPT_TIMES)).append(seconds)

    def failed(self, request_id: str, endpoint: str, kind: str, detail: str) -> None:
        """Remember an error."""
        self._errors.labels(endpoint, kind).inc()
        with self._lock:
            self._last.append(SeenError(time.time(), request_id, endpoint, kind, detail[:500]))

    @property
    def last_errors(self) -> Sequence[SeenError]:
        """The newest first."""
        with self._lock:
            return tuple(reversed(self._last))

    def latencies(self) -> Sequence[Latency]:
        """Of every endpoint that was asked."""
        with self._lock:
            times = {endpoint: sorted(seconds) for endpoint, seconds in self._times.items()}
            counts = dict(self._counts)
        return tuple(
            Latency(
                endpoint,
                counts[endpoint],
                *(1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))] for share in (0.5, 0.95, 1.0)),
            )
            for endpoint, seconds in sorted(times.items())
        )

    def prometheus(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _GaugeCollector:
    """Gauges that are read when they are looked at; Prometheus' own are set beforehand."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"sam2_{name}", name.replace("_", " "), value=value)
