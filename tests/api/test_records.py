"""Each question is counted once, with its protocol, class, model, engine, outcome and stages."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2_grpc

from cxrserve.observability.logs import configure_logging
from cxrserve.v1 import radiology_pb2 as pb
from cxrserve.v1 import radiology_pb2_grpc
from tests.api.conftest import Service, Serving, ServingBoth, png
from tests.api.test_grpc import pixels_request
from tests.exposition import samples, total
from tests.tiny_package import write_tiny_package

_STAGES = {"upload", "decode_queue", "decode", "prepare", "queue", "inference", "interpret"}
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = {"traceparent": f"00-{_TRACE}-b7ad6b7169203331-01"}
_NAME = "cxrserve_requests_total"


def film() -> bytes:
    return png(np.full((64, 64), 90, np.uint8))


@asynccontextmanager
async def opened(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        yield channel


async def told(client: httpx.AsyncClient) -> str:
    return (await client.get("/metrics")).text


async def test_every_protocol_counts_its_questions(
    serving_both: ServingBoth, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving_both() as service, opened(service) as channel:
        http = service.http
        await http.post("/v1/predict?priority=stat", content=film())
        files = [("image", ("a.png", film())), ("image", ("b.png", b"no film"))]
        await http.post("/v1/predict/batch", files=files)
        radiology = radiology_pb2_grpc.RadiologyStub(channel)  # type: ignore[no-untyped-call]
        await radiology.Predict(pb.PredictRequest(image=film()))
        triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await triton.ModelInfer(pixels_request())
        async for _ in radiology.PredictStream(iter([pb.PredictRequest(image=film())])):
            pass
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["no film"]}
        await http.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
        text = await told(http)
    engine = next(one.labels["engine"] for one in samples(text) if one.labels.get("engine"))
    whole = {"model": "tiny@1.0.0", "engine": engine, "outcome": "answered"}
    assert total(text, _NAME, protocol="rest", class_="stat", **whole) == 1
    assert total(text, _NAME, protocol="batch", class_="routine", **whole) == 1
    assert total(text, _NAME, protocol="batch", outcome="unsupported_media_type") == 1
    assert total(text, _NAME, protocol="grpc", **whole) == 2
    assert total(text, _NAME, protocol="oip-grpc", **whole) == 1
    assert total(text, _NAME, protocol="oip-http", outcome="unsupported_media_type") == 1
    assert total(text, _NAME) == 7
    assert total(text, "cxrserve_request_seconds_count") == 5
    assert total(text, "cxrserve_images_read_total", format="image/png") == 4


async def test_stages_add_up_to_the_whole(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        for _ in range(5):
            await client.post("/v1/predict", content=png(np.full((900, 900), 90, np.uint8)))
        text = await told(client)
    stages = {one.labels["stage"] for one in samples(text) if "stage" in one.labels}
    assert stages == _STAGES
    parts = total(text, "cxrserve_stage_seconds_sum") - total(
        text, "cxrserve_stage_seconds_sum", stage="upload"
    )
    whole = total(text, "cxrserve_request_seconds_sum")
    assert 0.5 * whole < parts <= whole


async def test_refusals_count_with_what_was_known_by_then(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        await client.post("/v1/predict?model=nobody", content=film())
        await client.post("/v1/predict?priority=now", content=film())
        await client.post("/v1/predict?deadline_ms=0.001", content=film())
        await client.get("/v1/models/nobody")
        text = await told(client)
    assert total(text, _NAME, outcome="model_not_found", model="none") == 1
    assert total(text, _NAME, outcome="unknown_option") == 1
    assert total(text, _NAME, outcome="deadline_exceeded", model="tiny@1.0.0") == 1
    assert total(text, _NAME) == 3


async def test_what_is_demanded_counts_the_refused_and_each_once(
    serving: Serving, tmp_path: Path
) -> None:
    """The load is told beyond what can be served; who comes back is no new load."""
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving(processors=1, queue_size=40, default_deadline_ms=120) as client:
        await asyncio.gather(*(client.post("/v1/predict", content=film()) for _ in range(8)))
        before = total(await told(client), "cxrserve_demanded_seconds_total")
        films = [png(np.full((1500, 1500), shade, np.uint8)) for shade in range(30)]

        async def ask(content: bytes) -> int:
            return (await client.post("/v1/predict", content=content)).status_code

        first = await asyncio.gather(*(ask(one) for one in films))
        once = total(await told(client), "cxrserve_demanded_seconds_total") - before
        refused = [one for one, status in zip(films, first, strict=True) if status == 429]
        assert len(refused) > 3
        again = await asyncio.gather(*(ask(one) for one in refused))
        twice = total(await told(client), "cxrserve_demanded_seconds_total") - before
        await asyncio.gather(*(ask(png(np.full((1500, 1500), 99 + i, np.uint8))) for i in range(4)))
        new = total(await told(client), "cxrserve_demanded_seconds_total") - before
    assert 429 in again
    assert once > 0
    assert twice - once < 0.2 * once, "who was told to come back is counted again"
    assert new > twice


async def test_models_and_slots_are_told(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "model.yaml").write_text("name: 1")
    async with serving(processors=2) as client:
        text = await told(client)
        digest = (await client.get("/v1/models/tiny")).json()["digest"]
    assert total(text, "cxrserve_model_info", model="tiny@1.0.0", digest=digest) == 1
    assert total(text, "cxrserve_engine_available", model="tiny@1.0.0") == 1
    assert total(text, "cxrserve_packages_refused") == 1
    assert total(text, "cxrserve_slots", device="processors") == 2
    assert total(text, "cxrserve_slots_busy", device="processors") == 0
    assert total(text, "cxrserve_queue_oldest_seconds") == 0


async def test_buckets_show_a_trace_that_fell_into_them(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        await client.post("/v1/predict", content=film(), headers=_PARENT)
        await client.post("/v1/predict", content=film(), headers={"traceparent": "00-bad"})
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        reply = await client.get("/metrics", headers=accept)
        plain = await told(client)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    shown = [
        (sample.name, sample.exemplar.labels)
        for family in text_string_to_metric_families(reply.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    ]
    assert ("cxrserve_request_seconds_bucket", {"trace_id": _TRACE}) in shown
    assert all(labels == {"trace_id": _TRACE} for _, labels in shown)
    assert _TRACE not in plain


async def test_a_caller_who_went_is_counted_so(serving_both: ServingBoth, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    large = png(np.random.default_rng(1).integers(0, 255, (3000, 3000)).astype(np.uint8))
    async with serving_both(processors=1) as service, opened(service) as channel:
        ahead = [
            asyncio.ensure_future(service.http.post("/v1/predict", content=large)) for _ in range(5)
        ]
        await asyncio.sleep(0.1)
        radiology = radiology_pb2_grpc.RadiologyStub(channel)  # type: ignore[no-untyped-call]
        call = radiology.Predict(pb.PredictRequest(image=large))
        for _ in range(1000):
            if service.app.state.admission.requests > len(ahead):
                break
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.gather(*ahead)
        for _ in range(100):
            text = await told(service.http)
            if total(text, _NAME) > len(ahead):
                break
            await asyncio.sleep(0.02)
    assert total(text, _NAME, protocol="grpc", outcome="abandoned") == 1


async def test_lines_of_json_say_what_happened_and_nothing_more(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    handler = logging.StreamHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    others = root.handlers[:]
    before = [one.formatter for one in others]
    try:
        configure_logging("INFO", "json")
        async with serving() as client:
            headers = {"X-Request-ID": "abc-1", **_PARENT}
            await client.post("/v1/predict?priority=urgent", content=film(), headers=headers)
            await client.post("/v1/predict", content=b"DOE^JANE", headers={"X-Request-ID": "abc-2"})
    finally:
        root.removeHandler(handler)
        for one, formatter in zip(others, before, strict=True):
            one.setFormatter(formatter)
        logging.getLogger("cxrserve").setLevel(logging.NOTSET)
    lines: dict[str, dict[str, Any]] = {}
    for line in capsys.readouterr().err.splitlines():
        if line.startswith("{"):
            told_of = json.loads(line)
            assert {"time", "level", "logger", "message"} <= set(told_of)
            lines[told_of.get("request_id", "")] = told_of
    answered, refused = lines["abc-1"], lines["abc-2"]
    assert answered["outcome"] == "answered"
    assert answered["class"] == "urgent"
    assert answered["model"] == "tiny@1.0.0"
    assert answered["route"] == "/v1/predict"
    assert answered["status"] == 200
    assert answered["trace_id"] == _TRACE
    assert set(answered["stages_ms"]) == _STAGES
    assert refused["outcome"] == "unsupported_media_type"
    assert "trace_id" not in refused
    assert "DOE" not in json.dumps(list(lines.values()))


async def test_what_models_find_is_counted(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    positive = []
    async with serving() as client:
        for shade in range(0, 250, 25):
            reply = await client.post(
                "/v1/predict", content=png(np.full((64, 64), shade, np.uint8))
            )
            positive.append(reply.json()["results"][0]["findings"][1]["positive"])
        text = await told(client)
    of = {"model": "tiny@1.0.0", "label": "pneumonia"}
    assert total(text, "cxrserve_finding_probability_count", **of) == len(positive)
    assert total(text, "cxrserve_findings_total", positive="true", **of) == sum(positive)
    assert total(text, "cxrserve_findings_total", positive="false", **of) == positive.count(False)
