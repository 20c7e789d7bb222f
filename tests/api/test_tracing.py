"""Spans arrive at a collector over OTLP, one a question and one a stage, in the caller's trace."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cxrserve.observability.record import TraceParent
from tests.api.conftest import ServingBoth, free_port, png
from tests.exposition import total
from tests.tiny_package import write_tiny_package

_TRACE, _CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_SAMPLED, _NOT_SAMPLED = f"00-{_TRACE}-{_CALLER}-01", f"00-{_TRACE}-{_CALLER}-00"
_CANARY = "DOE^JANE"


class Collector:
    """Takes what is exported over OTLP/HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


def film() -> bytes:
    return png(np.full((64, 64), 90, np.uint8))


async def test_a_question_is_a_span_with_its_stages_below(
    serving_both: ServingBoth, tmp_path: Path, collector: Collector
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving_both(traces_endpoint=collector.url, traces_share=0) as service:
        headers = {"traceparent": _SAMPLED, "X-Request-ID": "r-1"}
        files = {"image": (f"{_CANARY}.png", film())}
        path = f"/v1/predict?priority=stat&{_CANARY}=1"
        assert (await service.http.post(path, files=files, headers=headers)).status_code == 200
        headers = {"traceparent": _SAMPLED, "X-Request-ID": "r-2"}
        await service.http.post("/v1/predict", content=b"no film", headers=headers)
        await service.http.post(
            "/v1/predict", content=film(), headers={"traceparent": _NOT_SAMPLED}
        )
        await service.http.post("/v1/predict", content=film())
        service.app.state.telemetry.close()
    spans = collector.spans()
    assert {one.trace_id.hex() for one in spans} == {_TRACE}
    roots = {
        attribute.value.string_value: one
        for one in spans
        for attribute in one.attributes
        if attribute.key == "cxrserve.request_id"
    }
    assert set(roots) == {"r-1", "r-2"}
    answered = roots["r-1"]
    assert answered.parent_span_id.hex() == _CALLER
    below = [one for one in spans if one.parent_span_id == answered.span_id]
    stages = ["upload", "decode_queue", "decode", "prepare", "queue", "inference", "interpret"]
    assert [one.name for one in below] == stages
    for before, after in itertools.pairwise(below):
        assert before.end_time_unix_nano <= after.start_time_unix_nano + 1_000_000
    assert answered.start_time_unix_nano <= below[0].start_time_unix_nano
    assert below[-1].end_time_unix_nano <= answered.end_time_unix_nano
    facts = {one.key: one.value.string_value for one in answered.attributes}
    assert facts["cxrserve.model"] == "tiny@1.0.0"
    assert facts["cxrserve.class"] == "stat"
    assert facts["cxrserve.outcome"] == "answered"
    assert roots["r-2"].status.message == "unsupported_media_type"
    assert _CANARY not in str(collector.requests)
    resource = collector.requests[0].resource_spans[0].resource
    assert "cxrserve" in {one.value.string_value for one in resource.attributes}


async def test_a_share_is_traced_where_callers_have_not_decided(
    serving_both: ServingBoth, tmp_path: Path, collector: Collector
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving_both(traces_endpoint=collector.url, traces_share=0.5) as service:
        for _ in range(40):
            await service.http.post("/v1/predict", content=film())
        service.app.state.telemetry.close()
    traces = {one.trace_id for one in collector.spans()}
    assert 5 <= len(traces) <= 35


async def test_a_collector_that_is_away_is_no_matter(
    serving_both: ServingBoth, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with serving_both(traces_endpoint=nowhere, traces_share=1) as service:
        replies = [await service.http.post("/v1/predict", content=film()) for _ in range(5)]
        text = (await service.http.get("/metrics")).text
        service.app.state.telemetry.close()
    assert {one.status_code for one in replies} == {200}
    assert total(text, "cxrserve_requests_total", outcome="answered") == 5


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{'0' * 32}-{_CALLER}-01",
        f"00-{_TRACE}-{'0' * 16}-01",
        _SAMPLED.upper(),
        "x" * 99,
    ],
)
def test_what_is_no_trace_is_ignored(header: str) -> None:
    assert TraceParent.read(header) is None
