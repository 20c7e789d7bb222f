"""OpenTelemetry traces: a span a question and one a stage, made of its record when it has ended.

A record holds times, models and codes, nothing of the image: so do spans. They are made at the end
since all is known then, and cost nothing before. Where they go is a setting; nowhere by default.
"""

from __future__ import annotations

import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_trace_id,
    set_span_in_context,
)

from cxrserve import __version__
from cxrserve.observability.record import ANSWERED, Record

_PATH = "/v1/traces"
# Spans that wait to be sent, half of them at a time; what comes beyond is dropped.
_MOST = 4096
# With a collector that is away; it also holds up the end of the process, twice at most.
_PATIENCE_S = 2


class Tracing:
    """Sends the spans of ended questions, in the background.

    What cannot be sent is dropped: no question waits for it.

    Args:
        exporter: where spans go.
        share: of questions that are traced, 0..1, where their caller has not decided it.
    """

    def __init__(self, exporter: SpanExporter, *, share: float) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": "cxrserve", "service.version": __version__}),
            span_limits=SpanLimits(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=_MOST, max_export_batch_size=_MOST // 2)
        )
        self._tracer = self._provider.get_tracer("cxrserve", __version__)

    @classmethod
    def to(cls, endpoint: str, *, share: float) -> Tracing:
        """To an OpenTelemetry collector at `endpoint` (`http://host:4318`), over HTTP."""
        address = endpoint.rstrip("/")
        address = address if address.endswith(_PATH) else address + _PATH
        return cls(OTLPSpanExporter(endpoint=address, timeout=_PATIENCE_S), share=share)

    def ended(self, record: Record) -> None:
        """Make the spans of a question; `record.trace_id` is that of its trace from now on."""
        # Wall-clock time at the record's zero, in nanoseconds.
        now = record.clock()
        zero = time.time_ns() - round(now * 1e9)
        parent = record.parent
        context = None
        if parent is not None:
            caller = SpanContext(
                parent.trace_id, parent.span_id, is_remote=True,
                trace_flags=TraceFlags(int(parent.sampled)),
            )  # fmt: skip
            context = set_span_in_context(NonRecordingSpan(caller))
        span = self._tracer.start_span(
            f"cxrserve {record.protocol}",
            context,
            kind=SpanKind.SERVER,
            start_time=zero + round(record.began * 1e9),
            attributes={
                "cxrserve.request_id": record.request_id,
                "cxrserve.protocol": record.protocol,
                "cxrserve.class": record.priority,
                "cxrserve.model": record.model,
                "cxrserve.engine": record.engine,
                "cxrserve.outcome": record.outcome or "",
            },
        )
        own = span.get_span_context()
        record.trace_id = format_trace_id(own.trace_id) if own.trace_flags.sampled else ""
        if span.is_recording():
            if record.outcome != ANSWERED:
                span.set_status(Status(StatusCode.ERROR, record.outcome))
            within = set_span_in_context(span)
            for stage in record.stages:
                step = self._tracer.start_span(
                    stage.name,
                    within,
                    start_time=zero + round(stage.began * 1e9),
                    attributes={
                        "cxrserve.model": stage.model,
                        "cxrserve.engine": stage.engine,
                        "cxrserve.batch": stage.batch,
                    },
                )
                step.end(zero + round((stage.began + stage.seconds) * 1e9))
        span.end(zero + round(now * 1e9))

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.shutdown()
