"""gRPC: the same answers as HTTP, and no request that makes the service fail."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from cxrserve.api.grpc.radiology import Radiology
from cxrserve.batching.line import Priority
from cxrserve.engines.engine import Engine
from cxrserve.predictor import Predictor
from cxrserve.v1 import radiology_pb2 as v1
from cxrserve.v1 import radiology_pb2_grpc
from tests.api.conftest import Service, ServingBoth, png
from tests.exposition import total
from tests.tiny_package import SIDE, write_tiny_package, write_tiny_segmentation

_CANARY = "Zyxwvut^Canary"
_RNG = np.random.default_rng(1)
_FILM = png(_RNG.integers(0, 256, (50, 40), np.uint8))
_PIXELS = _RNG.integers(0, 256, (2, 1, SIDE, SIDE), np.uint8)


@pytest.fixture(autouse=True)
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_tiny_package(folder / "tiny")
    write_tiny_segmentation(folder / "lungs-unet")
    return folder


def pixels_request(pixels: Any = _PIXELS, model: str = "tiny", **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **more)
    request.inputs.add(name="pixels", datatype="UINT8", shape=pixels.shape)
    request.raw_input_contents.append(pixels.tobytes())
    return request


def logits_of(response: pb.ModelInferResponse) -> list[list[float]]:
    place = [one.name for one in response.outputs].index("logits")
    values = np.frombuffer(response.raw_output_contents[place], "<f4")
    return [list(row) for row in values.reshape(response.outputs[place].shape).tolist()]


def radiology_of(channel: grpc.aio.Channel) -> Any:
    """The typed service's stub, which carries no types."""
    stub: Any = radiology_pb2_grpc.RadiologyStub
    return stub(channel)


def opened(service: Service) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(service.grpc)


def trailing(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    metadata: Any = error.trailing_metadata()
    return dict(metadata or ())


async def status_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    packed = trailing(error)["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = status_pb2.Status.FromString(packed)
    assert status.code == error.code().value[0]
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                one = kind()
                detail.Unpack(one)
                found[kind.__name__] = one
    return found


async def test_pixels_come_raw_or_as_values(serving_both: ServingBoth) -> None:
    typed = pb.ModelInferRequest(model_name="tiny", id="mine")
    tensor = typed.inputs.add(name="pixels", datatype="UINT8", shape=_PIXELS.shape)
    tensor.contents.uint_contents.extend(_PIXELS.ravel().tolist())
    files = pb.ModelInferRequest(model_name="tiny", model_version="1.0.0")
    files.inputs.add(name="image", datatype="BYTES", shape=[2, 1]).contents.bytes_contents.extend(
        [_FILM, _FILM]
    )
    async with serving_both() as service, opened(service) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        raw = await stub.ModelInfer(pixels_request())
        values = await stub.ModelInfer(typed)
        films = await stub.ModelInfer(files)
        only = await stub.ModelInfer(pixels_request(outputs=[{"name": "cam"}]))
    assert values.raw_output_contents == raw.raw_output_contents
    assert (values.id, values.model_name, values.model_version) == ("mine", "tiny", "1")
    assert [one.name for one in raw.outputs] == ["logits", "probabilities", "cam"]
    assert [one.name for one in only.outputs] == ["cam"]
    assert logits_of(films)[0] == logits_of(films)[1]


def _bad_requests() -> Iterator[tuple[str, pb.ModelInferRequest]]:
    changes: dict[str, Callable[[Any], Any]] = {
        "no inputs": lambda r: (r.ClearField("inputs"), r.ClearField("raw_input_contents")),
        "raw left over": lambda r: r.raw_input_contents.append(b"x"),
        "raw too short": lambda r: r.raw_input_contents.__setitem__(0, b"x"),
        "no data": lambda r: r.ClearField("raw_input_contents"),
        "raw and values": lambda r: r.inputs[0].contents.uint_contents.append(1),
        "another name": lambda r: setattr(r.inputs[0], "name", "n" * 100_000),
        "another datatype": lambda r: setattr(r.inputs[0], "datatype", "FP32"),
        "negative shape": lambda r: r.inputs[0].shape.__setitem__(0, -2),
        "long shape": lambda r: r.inputs[0].shape.extend([1] * 1000),
        "unknown output": lambda r: r.outputs.add(name="\n" + "o" * 100_000),
        "output twice": lambda r: [r.outputs.add(name="cam") for _ in range(2)],
        "many outputs": lambda r: [r.outputs.add(name="cam") for _ in range(1000)],
        "no such region": lambda r: (
            r.inputs[0]
            .parameters["shared_memory_region"]
            .CopyFrom(pb.InferParameter(string_param="r"))
        ),
        "priority": lambda r: r.parameters["priority"].CopyFrom(pb.InferParameter(int64_param=-1)),
    }
    for what, change in changes.items():
        request = pixels_request()
        change(request)
        yield what, request
    wrong = pb.ModelInferRequest(model_name="tiny")
    tensor = wrong.inputs.add(name="pixels", datatype="UINT8", shape=[1, 1, SIDE, SIDE])
    tensor.contents.int_contents.extend([1] * SIDE * SIDE)
    yield "values of another kind", wrong
    large = pb.ModelInferRequest(model_name="tiny")
    tensor = large.inputs.add(name="pixels", datatype="UINT8", shape=[1, 1, SIDE, SIDE])
    tensor.contents.uint_contents.extend([256] * SIDE * SIDE)
    yield "values too large", large


async def test_what_is_wrong_with_a_request_is_the_callers_fault(serving_both: ServingBoth) -> None:
    async with serving_both() as service, opened(service) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for what, request in _bad_requests():
            error = await status_of(stub.ModelInfer(request))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, what
            assert error.details(), what
            assert details_of(error)["ErrorInfo"].reason == "BAD_TENSOR"
        for name, version in (("none", ""), ("tiny", "9"), ("\0é" * 50_000, "9" * 50_000)):
            request = pixels_request(model=name, model_version=version)
            for call in (
                stub.ModelInfer(request),
                stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
                stub.ModelConfig(pb.ModelConfigRequest(name=name, version=version)),
                stub.ModelStatistics(pb.ModelStatisticsRequest(name=name, version=version)),
            ):
                error = await status_of(call)
                assert error.code() is grpc.StatusCode.NOT_FOUND
                assert "unknown model" in (error.details() or "")
        for call in (
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny")),
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="tiny")),
            stub.SystemSharedMemoryRegister(
                pb.SystemSharedMemoryRegisterRequest(name="r", key="k", byte_size=1)
            ),
            stub.CudaSharedMemoryRegister(pb.CudaSharedMemoryRegisterRequest(name="r")),
        ):
            assert (await status_of(call)).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_quoted_leaves_room_for_the_status(serving_both: ServingBoth) -> None:
    long = "\0é漢" * 9000
    async with serving_both() as service, opened(service) as channel:
        radiology = radiology_of(channel)
        for asked, code in (
            (v1.PredictRequest(image=_FILM, models=[long]), grpc.StatusCode.NOT_FOUND),
            (
                v1.PredictRequest(image=_FILM, options={"operating_point": long}),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ):
            error = await status_of(radiology.Predict(asked))
            assert error.code() is code, error.details()
            assert details_of(error)["ErrorInfo"].reason


async def test_a_stream_is_answered_in_order_and_survives_what_fails(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = asyncio.Event()
    infer = Predictor.infer

    async def now_and_then(self: Predictor, pixels: Any, question: Any) -> Any:
        if question.priority is Priority.URGENT:  # the first waits for the last
            await slow.wait()
        elif question.priority is Priority.STAT:
            raise RuntimeError(_CANARY)
        slow.set()
        return await infer(self, pixels, question)

    monkeypatch.setattr(Predictor, "infer", now_and_then)
    final = {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)}
    first = pixels_request(id="0", parameters={"priority": pb.InferParameter(int64_param=2)})
    fails = pixels_request(id="1", model="none", parameters=final)
    breaks = pixels_request(id="2", parameters={"priority": pb.InferParameter(int64_param=1)})
    last = pixels_request(id="3", parameters=final)

    async def ask() -> AsyncIterator[pb.ModelInferRequest]:
        for request in (first, fails, breaks, last):
            yield request

    async with serving_both() as service, opened(service) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = [one async for one in stub.ModelStreamInfer(ask())]
        alone = await stub.ModelInfer(pixels_request())
        metrics = (await service.http.get("/metrics")).text
    assert [one.infer_response.id for one in answers] == ["0", "1", "2", "3"]
    assert [bool(one.error_message) for one in answers] == [False, True, True, False]
    assert "unknown model" in answers[1].error_message
    assert _CANARY not in answers[2].error_message
    assert "triton_final_response" not in answers[0].infer_response.parameters
    for one in (answers[1], answers[3]):
        assert one.infer_response.parameters["triton_final_response"].bool_param
    assert answers[3].infer_response.raw_output_contents == alone.raw_output_contents
    assert total(metrics, "cxrserve_requests_total", outcome="model_not_found") == 1


async def test_many_streams_at_once_each_get_their_own_answers(serving_both: ServingBoth) -> None:
    async with serving_both(queue_size=2000) as service:
        async with opened(service) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

            async def one(stream: int) -> None:
                async def ask() -> AsyncIterator[pb.ModelInferRequest]:
                    for number in range(150):
                        shade = (stream * 37 + number) % 256
                        pixels = np.full((1, 1, SIDE, SIDE), shade, np.uint8)
                        yield pixels_request(pixels, id=f"{shade}")

                count = 0
                async for answer in stub.ModelStreamInfer(ask()):
                    assert answer.error_message == ""
                    shade = int(answer.infer_response.id)
                    assert shade == (stream * 37 + count) % 256
                    (row,) = logits_of(answer.infer_response)
                    assert row[1] == pytest.approx(shade * 8 / 255, rel=1e-5)
                    count += 1
                assert count == 150

            await asyncio.gather(*(one(stream) for stream in range(5)))
        assert service.app.state.admission.requests == 0


def _blocked(
    monkeypatch: pytest.MonkeyPatch, service: Service
) -> tuple[threading.Event, list[int]]:
    """Holds up the tiny model's engine until the event is set; the batches that ran."""
    let_go, ran = threading.Event(), list[int]()
    engine = service.runtime.predictor.repository.get("tiny").engine
    run = type(engine).run

    def slow(self: Engine, pixels: Any) -> Any:
        if self is engine:
            ran.append(len(pixels))
            assert let_go.wait(20)
        return run(self, pixels)

    monkeypatch.setattr(type(engine), "run", slow)
    return let_go, ran


async def until(true: Callable[[], Any]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true within ten seconds")


async def test_a_deadline_ends_the_call_and_nothing_is_computed_for_it(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_both(processors=1) as service:
        async with opened(service) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            let_go, ran = _blocked(monkeypatch, service)
            one = _PIXELS[:1]
            first = asyncio.ensure_future(stub.ModelInfer(pixels_request(one)))
            await until(lambda: ran)
            error = await status_of(stub.ModelInfer(pixels_request(), timeout=0.3))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            gone = stub.ModelInfer(pixels_request())
            stream = stub.ModelStreamInfer(iter([pixels_request()] * 70))
            await until(lambda: service.app.state.admission.requests > 10)
            gone.cancel()
            stream.cancel()
            await until(lambda: service.app.state.admission.requests == 1)
            queue = next(q for q in service.runtime.predictor.batcher if q._in_flight)
            await until(lambda: len(queue) == 0)
            assert queue.booked.total() == 0
            let_go.set()
            await first
        assert ran == [1]
        assert service.app.state.admission.requests == 0
        assert service.app.state.admission.upload_bytes == 0
        # The loop has no task left that belonged to a call.
        assert queue._visitors == 0


async def test_who_reads_slowly_is_not_read_from(serving_both: ServingBoth) -> None:
    sent = 0

    async def ask() -> AsyncIterator[v1.PredictRequest]:
        nonlocal sent
        for number in range(200):
            sent += 1
            yield v1.PredictRequest(image=_FILM, id=str(number))

    class Context:
        def time_remaining(self) -> None:
            return None

        def peer(self) -> str:
            return "ipv4:10.0.0.1:1"

    async with serving_both() as service:
        state = service.app.state
        radiology = Radiology(service.runtime, state.admission, state.telemetry)
        stream = radiology.PredictStream(ask(), Context())  # type: ignore[arg-type]
        got = [await anext(stream) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert sent <= 25
        got += [answer async for answer in stream]
        assert sorted(int(one.id) for one in got) == list(range(200))


async def test_overload_says_when_to_come_back(serving_both: ServingBoth) -> None:
    async with serving_both(queue_size=4) as service, opened(service) as channel:
        for queue in service.app.state.runtime.batcher:
            queue.booked[Priority.ROUTINE] += 4
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        error = await status_of(stub.ModelInfer(pixels_request()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = details_of(error)
    assert details["ErrorInfo"].reason == "OVERLOADED"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0


async def test_health_tells_when_the_service_answers(serving_both: ServingBoth) -> None:
    async with serving_both(start=False) as service, opened(service) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        radiology = radiology_of(channel)
        names = ("", "inference.GRPCInferenceService", "cxrserve.v1.Radiology")

        async def told() -> set[int]:
            return {
                (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
                for name in names
            }

        assert await told() == {health_pb2.HealthCheckResponse.NOT_SERVING}
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready
        error = await status_of(radiology.Predict(v1.PredictRequest(image=_FILM)))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        unknown = health.Check(health_pb2.HealthCheckRequest(service=_CANARY))
        assert (await status_of(unknown)).code() is grpc.StatusCode.NOT_FOUND

        await service.runtime.start()
        await service.grpc_server.ready()
        assert await told() == {health_pb2.HealthCheckResponse.SERVING}
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready

        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.ensure_future(service.grpc_server.stop(5))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_calls_in_flight_are_answered_before_the_end(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_both() as service, opened(service) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        let_go, ran = _blocked(monkeypatch, service)
        call = asyncio.ensure_future(stub.ModelInfer(pixels_request()))
        await until(lambda: ran)
        stopping = asyncio.ensure_future(service.grpc_server.stop(10))
        await asyncio.sleep(0.1)
        error = await status_of(stub.ModelInfer(pixels_request(), timeout=2))
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        let_go.set()
        assert len((await call).outputs) == 3
        await stopping


async def test_reflection_lists_the_services(serving_both: ServingBoth) -> None:
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async with serving_both() as service, opened(service) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (told,) = [one async for one in stub.ServerReflectionInfo(iter([asked]))]
    assert {one.name for one in told.list_services_response.service} == {
        "inference.GRPCInferenceService",
        "cxrserve.v1.Radiology",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_every_call_has_an_id(
    serving_both: ServingBoth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving_both() as service, opened(service) as channel:
        stub = radiology_of(channel)
        for asked, kept in (("mine-1", True), (f"{_CANARY} x", False), ("", False)):
            call = stub.Predict(v1.PredictRequest(image=_FILM), metadata=(("x-request-id", asked),))
            answer = await call
            assert (answer.id == asked) is kept
            assert dict(await call.trailing_metadata())["x-request-id"] == answer.id
            # Who reports the answer's id finds it in the log.
            assert f"{answer.id} /cxrserve.v1.Radiology/Predict OK" in caplog.text
        broken = stub.Predict(v1.PredictRequest(image=b"x"), metadata=(("x-request-id", "b-1"),))
        error = await status_of(broken)
        assert trailing(error)["x-request-id"] == "b-1"
        assert "b-1 /cxrserve.v1.Radiology/Predict INVALID_ARGUMENT" in caplog.text
    assert _CANARY not in caplog.text


async def test_a_message_over_the_limit_is_refused(serving_both: ServingBoth) -> None:
    async with serving_both(max_upload_mb=1) as service:
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(service.grpc, options=options) as channel:
            stub = radiology_of(channel)
            error = await status_of(stub.Predict(v1.PredictRequest(image=bytes(3 << 20))))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            error = await status_of(stub.Predict(v1.PredictRequest(image=bytes((1 << 20) + 1))))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert details_of(error)["ErrorInfo"].reason == "TOO_LARGE"


def as_json(message: Any) -> Any:
    """A message of `cxrserve.v1` as REST's JSON has it."""
    if message.DESCRIPTOR.name == "Boxes":
        return [as_json(one) for one in message.boxes]
    told: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value: Any = getattr(message, field.name)
        if field.is_repeated:
            value = [as_json(one) if field.message_type else one for one in value]
        elif field.has_presence and not message.HasField(field.name):
            value = None
        elif field.message_type:
            value = as_json(value)
        elif field.type == field.TYPE_BYTES:
            value = value or None
        told[field.name] = value
    if "grid" in told:
        width = told["width"]
        told["grid"] = [told["grid"][at : at + width] for at in range(0, len(told["grid"]), width)]
    return told


def _comparable(given: Any) -> Any:
    if isinstance(given, dict):
        skipped = ("id", "timings_ms")
        told = {name: _comparable(one) for name, one in given.items() if name not in skipped}
        if isinstance(told.get("mask_png"), str):
            told["mask_png"] = base64.b64decode(told["mask_png"])
        if told.get("spacing_mm") is None and "spacing_mm" in told:
            told["spacing_mm"] = []
        return told
    return [_comparable(one) for one in given] if isinstance(given, list) else given


async def test_the_typed_service_says_what_rest_says(serving_both: ServingBoth) -> None:
    bright = png(np.full((60, 48), 250, np.uint8))
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"models": ["tiny", "lungs-unet@1.0.0"]}, {"model": ["tiny", "lungs-unet@1.0.0"]}),
        ({"explain": True}, {"explain": "true"}),
        ({"explain": True, "models": ["lungs-unet"]}, {"explain": "true", "model": "lungs-unet"}),
        ({"options": {"operating_point": "screening", "augment": v1.AUGMENT_MIRROR}},
         {"operating_point": "screening", "augment": "mirror"}),
        ({"content_type": "image/jpeg"}, {}),
    ]  # fmt: skip
    async with serving_both() as service, opened(service) as channel:
        stub = radiology_of(channel)
        for image in (_FILM, bright):
            for fields, query in asked:
                message = await stub.Predict(v1.PredictRequest(image=image, **fields))
                headers = {"content-type": fields.get("content_type", "application/octet-stream")}
                rest = await service.http.post(
                    "/v1/predict", content=image, params=query, headers=headers
                )
                assert rest.status_code == 200, rest.text
                assert _comparable(as_json(message)) == _comparable(rest.json())
                assert set(as_json(message)) == set(rest.json())
                assert all(value > 0 for value in as_json(message)["timings_ms"].values())
            explained = await stub.Explain(
                v1.ExplainRequest(image=image, label="pneumonia", picture=True)
            )
            query = {"label": "pneumonia"}
            told = await service.http.post(
                "/v1/explain", content=image, params=query, headers={"accept": "application/json"}
            )
            drawn = await service.http.post(
                "/v1/explain", content=image, params=query, headers={"accept": "image/png"}
            )
            assert _comparable(as_json(explained.explanation)) == _comparable(told.json())
            assert explained.overlay_png == drawn.content
        listed = as_json(await stub.ListModels(v1.ListModelsRequest()))
        assert listed == (await service.http.get("/v1/models")).json()


async def test_a_bad_image_of_a_stream_is_a_problem_not_its_end(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Predictor.predict

    async def sometimes(self: Predictor, data: bytes, *args: Any, **more: Any) -> Any:
        if data == b"unforeseen":
            raise RuntimeError(_CANARY)
        return await predict(self, data, *args, **more)

    monkeypatch.setattr(Predictor, "predict", sometimes)
    requests = [
        v1.PredictRequest(image=_FILM, id="good"),
        v1.PredictRequest(image=b"", id="empty"),
        v1.PredictRequest(image=b"text", id="text"),
        v1.PredictRequest(image=_FILM[:60], id="cut"),
        v1.PredictRequest(image=_FILM, id="model", models=["none"]),
        v1.PredictRequest(image=_FILM, id="late", options={"deadline_ms": 1e-6}),
        v1.PredictRequest(image=_FILM, id="odd", options={"deadline_ms": float("nan")}),
        v1.PredictRequest(image=_FILM, id="point", options={"operating_point": "p" * 9000}),
        v1.PredictRequest(image=b"unforeseen", id="unforeseen"),
        v1.PredictRequest(image=_FILM, id=f"{_CANARY} with spaces"),
        v1.PredictRequest(image=_FILM, id="last"),
    ]
    async with serving_both() as service, opened(service) as channel:
        stub = radiology_of(channel)
        answers = {one.id: one async for one in stub.PredictStream(iter(requests))}
        alone = await stub.Predict(requests[0])
    assert set(answers) == {request.id for request in requests}
    problems = {id_: one.problem.code for id_, one in answers.items() if one.HasField("problem")}
    assert problems == {
        "empty": "empty_upload", "text": "unsupported_media_type", "cut": "unreadable_image",
        "model": "model_not_found", "late": "deadline_exceeded", "odd": "bad_request",
        "point": "unknown_option", "unforeseen": "internal",
    }  # fmt: skip
    assert answers["cut"].problem.reasons == ["truncated"]
    assert answers["unforeseen"].problem.grpc_code == grpc.StatusCode.INTERNAL.value[0]
    assert _CANARY not in answers["unforeseen"].problem.detail
    assert answers["good"].answer.id == "good"
    assert _CANARY not in answers[f"{_CANARY} with spaces"].answer.id
    for id_ in ("good", "last", f"{_CANARY} with spaces"):
        assert list(answers[id_].answer.results) == list(alone.results)


async def test_an_unforeseen_failure_says_nothing_of_itself(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(_CANARY)

    caplog.set_level(logging.DEBUG, "cxrserve")
    for method in ("predict", "explain", "infer", "look"):
        monkeypatch.setattr(Predictor, method, fail)
    files = pb.ModelInferRequest(model_name="tiny")
    files.inputs.add(name="image", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"a", b"b"]
    )
    async with serving_both() as service, opened(service) as channel:
        typed = radiology_of(channel)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for call in (
            typed.Predict(v1.PredictRequest(image=b"x")),
            typed.Explain(v1.ExplainRequest(image=b"x")),
            stub.ModelInfer(pixels_request()),
            stub.ModelInfer(files),
        ):
            error = await status_of(call)
            assert error.code() is grpc.StatusCode.INTERNAL
            assert error.details() == "the service failed on this request; report the instance"
            assert _CANARY not in str(error)
    assert "RuntimeError at" in caplog.text
    assert _CANARY not in caplog.text


async def test_no_patient_data_reaches_the_log(
    serving_both: ServingBoth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving_both() as service, opened(service) as channel:
        typed = radiology_of(channel)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        raw_call: Any = channel.unary_unary
        metadata = (("x-request-id", f"{_CANARY} {_CANARY}"), ("x-patient", _CANARY))
        film = v1.PredictRequest(image=_FILM, id=_CANARY, content_type=f"image/{_CANARY}")
        await typed.Predict(film, metadata=metadata)
        assert [one.id async for one in typed.PredictStream(iter([film]))] == [_CANARY]
        for call in (
            typed.Predict(v1.PredictRequest(image=_FILM, models=[_CANARY])),
            typed.Predict(v1.PredictRequest(image=_FILM, options={"operating_point": _CANARY})),
            typed.Explain(v1.ExplainRequest(image=_FILM, label=_CANARY)),
            stub.ModelInfer(pixels_request(model=_CANARY, id=_CANARY), metadata=metadata),
            stub.ModelMetadata(pb.ModelMetadataRequest(name=_CANARY)),
            raw_call(f"/{_CANARY}/Method")(b""),
            raw_call(f"/inference.GRPCInferenceService/{_CANARY}")(b""),
            raw_call("/cxrserve.v1.Radiology/Predict")(b"\xff" + _CANARY.encode()),
        ):
            await status_of(call)
        path = f"/v2/models/{_CANARY}/infer"
        await service.http.post(path, json={"id": _CANARY, "inputs": []})
        await service.http.post("/v2/models/tiny/infer", json={_CANARY: 1})
        metrics = (await service.http.get("/metrics")).text
    ours = [
        record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    ]
    assert len(ours) > 8
    for record in ours:
        assert _CANARY not in record.getMessage() + str(record.exc_info)
    assert _CANARY not in metrics


async def test_one_image_gives_the_same_numbers_whichever_way_it_comes(
    serving_both: ServingBoth,
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE), np.uint8)
    film, pixels = png(image), image[None, None]
    raw_file = len(film).to_bytes(4, "little") + film

    async def http_infer(service: Service, head: dict[str, Any], tail: bytes) -> dict[str, Any]:
        text = json.dumps(head).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))} if tail else {}
        answer = await service.http.post(
            "/v2/models/tiny/infer", content=text + tail, headers=headers
        )
        told = answer.json()["outputs"]
        return {one["name"]: np.array(one["data"], "<f4").tobytes() for one in told}

    def grpc_bytes(response: pb.ModelInferResponse) -> dict[str, bytes]:
        names = [one.name for one in response.outputs]
        return dict(zip(names, response.raw_output_contents, strict=True))

    typed = pb.ModelInferRequest(model_name="tiny")
    typed.inputs.add(name="image", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(
        film
    )
    as_pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, SIDE, SIDE]}
    as_file = {"name": "image", "datatype": "BYTES", "shape": [1, 1]}
    async with serving_both() as service, opened(service) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        radiology = radiology_of(channel)
        multipart = await service.http.post("/v1/predict", files={"image": ("x.png", film)})
        raw = await service.http.post("/v1/predict", content=film)
        oip = [
            await http_infer(service, {"inputs": [{**as_pixels, "data": image.tolist()}]}, b""),
            await http_infer(
                service,
                {"inputs": [{**as_file, "parameters": {"binary_data_size": len(raw_file)}}]},
                raw_file,
            ),
            await http_infer(
                service,
                {"inputs": [{**as_pixels, "parameters": {"binary_data_size": SIDE * SIDE}}]},
                pixels.tobytes(),
            ),
            grpc_bytes(await stub.ModelInfer(typed)),
            grpc_bytes(await stub.ModelInfer(pixels_request(pixels))),
        ]
        answer = await radiology.Predict(v1.PredictRequest(image=film))
    findings = [one.json()["results"][0]["findings"] for one in (multipart, raw)]
    assert findings[0] == findings[1]
    probabilities = [one["probability"] for one in findings[0]]
    assert [one.probability for one in answer.results[0].findings] == probabilities
    for one in oip:
        assert one == oip[0]
    assert np.frombuffer(oip[0]["probabilities"], "<f4").tolist() == [
        float(np.float32(one)) for one in probabilities
    ]


async def test_calls_may_come_over_tls(
    serving_both: ServingBoth, certificate: tuple[Path, Path]
) -> None:
    chain, key = certificate
    ours = ssl_channel_credentials(chain)
    async with serving_both(grpc_tls_cert=chain, grpc_tls_key=key) as service:
        async with grpc.aio.secure_channel(service.grpc, ours) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        async with opened(service) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            error = await status_of(stub.ServerReady(pb.ServerReadyRequest(), timeout=5))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
    async with serving_both(
        grpc_tls_cert=chain, grpc_tls_key=key, grpc_tls_client_ca=chain
    ) as service:
        async with grpc.aio.secure_channel(service.grpc, ours) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            error = await status_of(stub.ServerReady(pb.ServerReadyRequest(), timeout=5))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        known = ssl_channel_credentials(chain, key, chain)
        async with grpc.aio.secure_channel(service.grpc, known) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerReady(pb.ServerReadyRequest())).ready


def ssl_channel_credentials(root: Path, *own: Path) -> grpc.ChannelCredentials:
    assert ssl.HAS_TLSv1_3
    return grpc.ssl_channel_credentials(root.read_bytes(), *(one.read_bytes() for one in own))


@pytest.mark.parametrize(
    "only", [{"grpc_tls_cert"}, {"grpc_tls_key"}, {"grpc_tls_client_ca"}], ids=str
)
async def test_half_a_certificate_does_not_start_in_plain_text(
    serving_both: ServingBoth, certificate: tuple[Path, Path], only: set[str]
) -> None:
    with pytest.raises(OSError, match="needs both"):
        async with serving_both(**dict.fromkeys(only, certificate[0])):
            pass


async def test_a_port_that_is_taken_is_not_shared(serving_both: ServingBoth) -> None:
    async with serving_both() as service:
        port = int(service.grpc.rpartition(":")[2])
        with pytest.raises(OSError, match="cannot listen"):
            async with serving_both(grpc_port=port):
                pass


_scalars: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["tiny", "pixels", "image", "logits", "cam", "UINT8", "BYTES", ""])
    | st.text(max_size=6),
    "bytes": st.binary(max_size=30) | st.just(_FILM) | st.just(bytes(SIDE * SIDE)),
    "bool": st.booleans(),
    "float": st.floats(width=32),
    "double": st.floats(),
}


def _values_of(field: Any, depth: int) -> st.SearchStrategy[Any] | None:
    if field.message_type is not None:
        return None if depth == 0 else messages(field.message_type, depth - 1)
    names = {9: "string", 12: "bytes", 8: "bool", 2: "float", 1: "double"}
    if field.type in names:
        return _scalars[names[field.type]]
    if field.enum_type is not None:
        return st.integers(0, 5)
    unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
    wide = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    top = 2 ** ((64 if wide else 32) - (not unsigned)) - 1
    return st.integers(0 if unsigned else -top, top) | st.sampled_from([0, 1, 2, SIDE])


def _fill(message: Any, field: Any, values: list[Any]) -> None:
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for entry in values:
            if field.message_type.fields_by_name["value"].message_type is None:
                target[entry.key] = entry.value
            else:
                target[entry.key].CopyFrom(entry.value)
    elif field.is_repeated:
        target.extend(values)
    elif field.message_type is not None:
        target.CopyFrom(values[0])
    else:
        setattr(message, field.name, values[0])


@st.composite
def messages(draw: Any, descriptor: Any, depth: int = 4) -> Any:
    """Messages of a kind with any fields."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        values = _values_of(field, depth)
        if values is not None and draw(st.booleans()):
            _fill(message, field, draw(st.lists(values, min_size=1, max_size=3)))
    return message


_SERVICES = [
    (f"/{service.full_name}/{method.name}", method.input_type, method.client_streaming)
    for service in (
        pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        v1.DESCRIPTOR.services_by_name["Radiology"],
    )
    for method in service.methods
]
_OUR_FAULT = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


async def test_no_message_makes_the_service_fail(serving_both: ServingBoth) -> None:
    async with serving_both(repository_control="on", shared_memory="on") as service:

        @settings(max_examples=400, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def ask(data: st.DataObject) -> None:
            path, kind, streams = data.draw(st.sampled_from(_SERVICES))
            if data.draw(st.integers(0, 5)):
                body = data.draw(messages(kind)).SerializeToString()
            else:
                body = data.draw(st.binary(max_size=40))
            try:
                if streams:
                    list(channel.stream_stream(path)(iter([body] * 2), timeout=20))
                else:
                    channel.unary_unary(path)(body, timeout=20)
            except grpc.RpcError as error:
                code, words = error.code(), error.details()
                assert code not in _OUR_FAULT, (path, body, words)

        channel: Any
        with grpc.insecure_channel(service.grpc) as channel:
            await asyncio.to_thread(ask)


# --- Triton's clients


def triton_inputs(module: Any, pixels: Any = _PIXELS) -> list[Any]:
    given = module.InferInput("pixels", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels)
    return [given]


async def test_tritons_clients_get_their_answers(serving_both: ServingBoth) -> None:
    async with serving_both() as service:
        async with opened(service) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            expected = logits_of(await stub.ModelInfer(pixels_request()))

        def blocking() -> None:
            with triton.InferenceServerClient(service.grpc) as client:
                result = client.infer("tiny", triton_inputs(triton), request_id="7", priority=1,
                                      timeout=9_000_000, client_timeout=20)  # fmt: skip
                assert result.as_numpy("logits").tolist() == expected
                assert result.get_response().id == "7"
                got: list[Any] = []
                done = threading.Semaphore(0)

                def callback(result: Any, error: Any) -> None:
                    got.append((result, error))
                    done.release()

                client.start_stream(callback)
                for number in range(3):
                    client.async_stream_infer("tiny", triton_inputs(triton), request_id=str(number))
                client.async_stream_infer("none", triton_inputs(triton), request_id="bad")
                for _ in range(4):
                    assert done.acquire(timeout=20)
                client.stop_stream()
                assert [one.get_response().id for one, _ in got[:3]] == ["0", "1", "2"]
                assert "unknown model" in str(got[3][1])
                client.async_infer("tiny", triton_inputs(triton), callback)
                assert done.acquire(timeout=20)
                assert got[4][0].as_numpy("logits").tolist() == expected

        await asyncio.to_thread(blocking)
        async with triton_aio.InferenceServerClient(service.grpc) as client:
            result = await client.infer("tiny", triton_inputs(triton_aio))
            assert result.as_numpy("logits").tolist() == expected
            film = triton_aio.InferInput("image", [2, 1], "BYTES")
            film.set_data_from_numpy(np.array([[_FILM], [_FILM]], np.object_))
            wanted = [triton_aio.InferRequestedOutput("probabilities", class_count=1)]
            result = await client.infer("tiny", [film], outputs=wanted)
            assert result.as_numpy("probabilities").shape == (2, 1)
            assert await client.is_server_live()
            assert await client.is_model_ready("tiny")

            async def ask() -> AsyncIterator[dict[str, Any]]:
                for number in range(3):
                    yield {"model_name": "tiny", "inputs": triton_inputs(triton_aio),
                           "request_id": str(number)}  # fmt: skip

            ids = [
                result.get_response().id
                async for result, error in client.stream_infer(ask())
                if error is None
            ]
            assert ids == ["0", "1", "2"]
