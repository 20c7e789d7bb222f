"""Prometheus metrics (docs/metrics.md). Labels are codes, names of models and route templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cxrserve.answer import ImageSeen
from cxrserve.errors import (
    CxrError,
    NotReadableAsChest,
    UnreadableImage,
    UnsupportedUpload,
    UploadTooLarge,
)
from cxrserve.observability.record import ABANDONED, ANSWERED, Record

disable_created_metrics()  # type: ignore[no-untyped-call]

Kind = TypeVar("Kind", Counter, Histogram)

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """What is counted of requests, answers and refusals, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Counter | Histogram] = {}
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
            "cxrserve_requests",
            "Questions by how they ended",
            ["protocol", "class", "model", "engine", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "cxrserve_request_seconds",
            "Time of each answered question, from when it was taken up",
            ["protocol", "class", "model", "engine"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._stages = Histogram(
            "cxrserve_stage_seconds",
            "Time of each stage of an answered question",
            ["stage", "protocol", "class", "model", "engine"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._remarks = Counter(
            "cxrserve_image_remarks",
            "Remarks of the reader and the quality gate",
            ["code"],
            registry=registry,
        )
        self._images = Counter(
            "cxrserve_images_read", "Images that were read", ["format"], registry=registry
        )
        self._undecoded = Counter(
            "cxrserve_decoding_failures",
            "Uploads that no image could be made of",
            ["reason"],
            registry=registry,
        )

    def collect(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read off something else at each scrape."""
        self._registry.register(_Families(families))

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request; `route` is a template, `status` 0 if the caller had gone."""
        self._of(self._served, (method, route, str(status))).observe(seconds)

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call; `method` is one that is served."""
        self._of(self._called, (method, code)).observe(seconds)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, as `Accept` asks: Prometheus' text or OpenMetrics; and the media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def ended(self, record: Record) -> None:
        """Count a question that has ended; of an answered one, its times."""
        who = (record.protocol, record.priority, record.model, record.engine)
        outcome = record.outcome or ABANDONED
        self._of(self._requests, (*who, outcome)).inc()
        if outcome != ANSWERED:
            return
        # An example of each bucket, to be looked up where traces are kept.
        exemplar = {"trace_id": record.trace_id} if record.trace_id else None
        self._of(self._seconds, who).observe(record.seconds, exemplar)
        protocol, priority = record.protocol, record.priority
        for stage in record.stages:
            of = (stage.name, protocol, priority, stage.model, stage.engine)
            self._of(self._stages, of).observe(stage.seconds, exemplar)

    def _of(self, metric: Kind, labels: tuple[str, ...]) -> Kind:
        """`metric.labels(...)`, which takes as long as counting does, only once."""
        key = (metric, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child  # type: ignore[return-value]

    def saw(self, image: ImageSeen) -> None:
        """Count an image that was read, and what was remarked of it."""
        self._images.labels(image.format).inc()
        for remark in (*image.warnings, *image.reasons):
            self._remarks.labels(remark.code).inc()

    def refused(self, error: CxrError) -> None:
        """Count why an image was refused."""
        if isinstance(error, NotReadableAsChest):
            for code in error.reasons:
                self._remarks.labels(code).inc()
        elif isinstance(error, UnreadableImage):
            self._undecoded.labels(error.reason).inc()
        elif isinstance(error, UnsupportedUpload):
            self._undecoded.labels("unsupported").inc()
        elif isinstance(error, UploadTooLarge):
            self._undecoded.labels("too_large").inc()


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is there to be read before the service has started
