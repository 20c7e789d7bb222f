"""Prometheus metrics. Labels are codes and route templates, never paths or patient data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cxrserve.answer import Answer, Explanation, ImageSeen, Timings
from cxrserve.errors import CxrError, NotReadableAsChest, UnreadableImage

disable_created_metrics()  # type: ignore[no-untyped-call]

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """What is counted of requests, answers and refusals, in a registry of its own."""

    CONTENT_TYPE = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._served = Histogram(
            "cxrserve_http_request_seconds",
            "Time of each HTTP request",
            ["method", "route", "status"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._called = Histogram(
            "cxrserve_grpc_request_seconds",
            "Time of each gRPC call",
            ["method", "code"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._requests = Counter(
            "cxrserve_requests", "Requests by how they ended", ["outcome"], registry=registry
        )
        self._reasons = Counter(
            "cxrserve_image_remarks",
            "Remarks of the reader and the quality gate",
            ["code"],
            registry=registry,
        )
        self._stages = Histogram(
            "cxrserve_stage_seconds",
            "Time of each stage of an answered request",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=registry,
        )

    def collect(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read off something else at each scrape."""
        self._registry.register(_Families(families))

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request; `route` is a template, `status` 0 if the caller had gone."""
        self._served.labels(method, route, str(status)).observe(seconds)

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call; `method` is one that is served."""
        self._called.labels(method, code).observe(seconds)

    def exposition(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)

    def answered(self, answer: Answer | Explanation) -> None:
        """Count an answer and its stages."""
        self.looked(answer.image, answer.timings_ms)

    def inferred(self, images: int) -> None:
        """Count images that came as pixels."""
        self._requests.labels("answered").inc(images)

    def looked(self, image: ImageSeen, timings_ms: Timings) -> None:
        """Count an image whose answer is given as tensors."""
        self._requests.labels("answered").inc()
        for remark in (*image.warnings, *image.reasons):
            self._reasons.labels(remark.code).inc()
        for stage, milliseconds in timings_ms.model_dump().items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def refused(self, error: CxrError) -> None:
        """Count a refusal and its reasons."""
        self._requests.labels(error.code).inc()
        if isinstance(error, NotReadableAsChest):
            for code in error.reasons:
                self._reasons.labels(code).inc()
        elif isinstance(error, UnreadableImage):
            self._reasons.labels(error.reason).inc()


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is there to be read before the service has started
