"""The Open Inference Protocol as Triton's own clients speak it, to the real service."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from cxrserve.models.package import read_package
from cxrserve.models.preprocess import fit
from cxrserve.v1 import radiology_pb2, radiology_pb2_grpc
from tests.acceptance.bad_uploads import phantom_bytes
from tests.acceptance.conftest import ROOT, Server, kill, start_server

pytestmark = pytest.mark.server

_OUTPUTS = ("logits", "probabilities", "cam")
# What the protocol has and this service has not, or only where a setting allows it.
_UNSUPPORTED: dict[str, Callable[[Any], Any]] = {
    "load_model": lambda client: client.load_model("triage"),
    "unload_model": lambda client: client.unload_model("triage"),
    "register_system_shared_memory": lambda client: client.register_system_shared_memory(
        "r", "/r", 16
    ),
    "register_cuda_shared_memory": lambda client: client.register_cuda_shared_memory(
        "r", b"aGFuZGxl", 0, 16
    ),
    "update_trace_settings": lambda client: client.update_trace_settings(
        settings={"trace_level": ["TIMESTAMPS"]}
    ),
    "update_log_settings": lambda client: client.update_log_settings({"log_verbose_level": 1}),
}
_SUPPORTED: dict[str, Callable[[Any], Any]] = {
    "is_server_live": lambda client: client.is_server_live(),
    "is_server_ready": lambda client: client.is_server_ready(),
    "is_model_ready": lambda client: client.is_model_ready("triage", "1.0.0"),
    "get_server_metadata": lambda client: client.get_server_metadata(),
    "get_model_metadata": lambda client: client.get_model_metadata("triage"),
    "get_model_config": lambda client: client.get_model_config("triage"),
    "get_model_repository_index": lambda client: client.get_model_repository_index(),
    "get_inference_statistics": lambda client: client.get_inference_statistics("triage"),
    "get_trace_settings": lambda client: client.get_trace_settings("triage"),
    "get_log_settings": lambda client: client.get_log_settings(),
    "get_system_shared_memory_status": lambda client: client.get_system_shared_memory_status(),
    "get_cuda_shared_memory_status": lambda client: client.get_cuda_shared_memory_status(),
    "unregister_system_shared_memory": lambda client: client.unregister_system_shared_memory(),
    "unregister_cuda_shared_memory": lambda client: client.unregister_cuda_shared_memory(),
}
# They ask nothing of the server themselves, or are asked by the tests below.
_OTHERS = {
    "close", "generate_request_body", "parse_response_body", "plugin", "register_plugin",
    "unregister_plugin", "infer", "async_infer", "stream_infer", "async_stream_infer",
    "start_stream", "stop_stream",
}  # fmt: skip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return phantom_bytes(".png", tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def pixels(film: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The phantom as the network of triage takes it."""
    path = tmp_path_factory.mktemp("pixels") / "film.png"
    path.write_bytes(film)
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    return fit(grey, read_package(ROOT / "models" / "triage").manifest.input)[None, None]


def given(module: Any, name: str, data: Any, *, binary: bool | None = None) -> list[Any]:
    tensor = module.InferInput(name, list(data.shape), "BYTES" if name == "image" else "UINT8")
    tensor.set_data_from_numpy(data, **({} if binary is None else {"binary_data": binary}))
    return [tensor]


def arrays(result: Any) -> dict[str, bytes]:
    return {name: result.as_numpy(name).astype("<f4").tobytes() for name in _OUTPUTS}


def test_one_image_gives_the_same_numbers_whichever_way_it_comes(
    server: Server, film: bytes, pixels: Any
) -> None:
    rest = httpx.post(f"{server.url}/v1/predict?model=triage", content=film, timeout=60).json()
    part = httpx.post(
        f"{server.url}/v1/predict?model=triage", files={"image": ("a.png", film)}, timeout=60
    ).json()
    assert part["results"] == rest["results"]
    findings = {one["label"]: one["probability"] for one in rest["results"][0]["findings"]}
    with grpc.insecure_channel(server.grpc) as channel:
        stub: Any = radiology_pb2_grpc.RadiologyStub
        typed = stub(channel).Predict(radiology_pb2.PredictRequest(image=film, models=["triage"]))
    assert {one.label: one.probability for one in typed.results[0].findings} == findings
    files = np.array([[film]], np.object_)
    with triton_http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        ways = [
            client.infer("triage", given(triton_http, "pixels", pixels, binary=False)),
            client.infer("triage", given(triton_http, "pixels", pixels)),
            client.infer("triage", given(triton_http, "image", files)),
            client.infer(
                "triage",
                given(triton_http, "image", files),
                request_compression_algorithm="gzip",
                response_compression_algorithm="deflate",
            ),
        ]
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        ways += [
            client.infer("triage", given(triton_grpc, "pixels", pixels)),
            client.infer("triage", given(triton_grpc, "image", files)),
        ]
    found = [arrays(way) for way in ways]
    assert all(one == found[0] for one in found)
    assert np.frombuffer(found[0]["probabilities"], "<f4").tolist() == [
        float(np.float32(value)) for value in findings.values()
    ]


@pytest.fixture(params=[triton_http, triton_grpc], ids=["http", "grpc"])
def triton(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    module = request.param
    address = server.grpc if module is triton_grpc else server.url.removeprefix("http://")
    with module.InferenceServerClient(address) as client:
        yield client


def test_every_method_of_tritons_client_works_or_says_that_it_is_not_served(triton: Any) -> None:
    public = {name for name in dir(type(triton)) if not name.startswith("_")}
    assert public <= {*_SUPPORTED, *_UNSUPPORTED, *_OTHERS}
    for name, call in _SUPPORTED.items():
        assert call(triton) is not False, name
    for name, call in _UNSUPPORTED.items():
        with pytest.raises(InferenceServerException, match=r"not |switched off|cannot") as refused:
            call(triton)
        assert str(refused.value.status()) in ("501", "StatusCode.UNIMPLEMENTED"), name
    assert triton.is_model_ready("none") is False
    with pytest.raises(InferenceServerException, match="unknown model"):
        triton.get_model_metadata("none")


@pytest.mark.parametrize("module", [triton_http_aio, triton_grpc_aio], ids=["http", "grpc"])
async def test_every_method_of_tritons_asynchronous_client_does(
    module: Any, server: Server, pixels: Any, film: bytes
) -> None:
    address = server.grpc if module is triton_grpc_aio else server.url.removeprefix("http://")
    async with module.InferenceServerClient(address) as client:
        public = {name for name in dir(type(client)) if not name.startswith("_")}
        assert public <= {*_SUPPORTED, *_UNSUPPORTED, *_OTHERS}
        for name, call in _SUPPORTED.items():
            assert await call(client) is not False, name
        for name, call in _UNSUPPORTED.items():
            with pytest.raises(InferenceServerException) as refused:
                await call(client)
            assert str(refused.value.status()) in ("501", "StatusCode.UNIMPLEMENTED"), name
        one = await client.infer(
            "triage", given(module, "pixels", pixels), request_id="a", priority=1
        )
        files = np.array([[film]] * 3, np.object_)
        three = await client.infer("triage", given(module, "image", files))
        assert three.as_numpy("logits").tolist() == one.as_numpy("logits").tolist() * 3
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("none", given(module, "pixels", pixels))


def test_tritons_blocking_client_can_ask_in_the_background(triton: Any, pixels: Any) -> None:
    if isinstance(triton, triton_http.InferenceServerClient):
        asked = triton.async_infer("triage", given(triton_http, "pixels", pixels))
        assert asked.get_result().as_numpy("logits").shape == (1, 3)
        return
    got: list[Any] = []
    done = threading.Semaphore(0)

    def callback(result: Any, error: Any) -> None:
        got.append((result, error))
        done.release()

    triton.async_infer("triage", given(triton_grpc, "pixels", pixels), callback)
    assert done.acquire(timeout=30)
    triton.start_stream(callback)
    for number in range(20):
        triton.async_stream_infer(
            "triage", given(triton_grpc, "pixels", pixels), request_id=str(number)
        )
    for _ in range(20):
        assert done.acquire(timeout=30)
    triton.stop_stream()
    assert [error for _, error in got] == [None] * 21
    assert [one.get_response().id for one, _ in got[1:]] == [str(number) for number in range(20)]


async def test_a_stream_of_tritons_asynchronous_client(server: Server, pixels: Any) -> None:
    async def ask() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            inputs = given(triton_grpc_aio, "pixels", pixels)
            yield {"model_name": "triage", "inputs": inputs, "request_id": str(number)}

    async with triton_grpc_aio.InferenceServerClient(server.grpc) as client:
        got = [one async for one in client.stream_infer(ask())]
    assert [error for _, error in got] == [None] * 20
    assert [one.get_response().id for one, _ in got] == [str(number) for number in range(20)]


def test_what_is_in_flight_on_either_wire_is_answered_at_the_end(
    tmp_path: Path, film: bytes
) -> None:
    running = start_server(tmp_path / "service.log")
    wave, each = threading.Barrier(17), 4
    model = "nih14-densenet121"
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[each, 1])
    tensor.contents.bytes_contents.extend([film] * each)
    size = each * (4 + len(film))
    head = (
        f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[{each},1],'
        f'"parameters":{{"binary_data_size":{size}}}}}]}}'
    ).encode()
    body = head + (len(film).to_bytes(4, "little") + film) * each

    def over_http(_: int) -> int:
        with running.client() as client:
            client.get("/livez")
            wave.wait(30)
            length = {"Inference-Header-Content-Length": str(len(head))}
            path = f"/v2/models/{model}/infer"
            return len(client.post(path, content=body, headers=length).json()["outputs"])

    def over_grpc(_: int) -> int:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(running.grpc, options=options) as channel:
            grpc.channel_ready_future(channel).result(30)
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            wave.wait(30)
            return len(stub.ModelInfer(request, timeout=60).outputs)

    try:
        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(over_http, n) for n in range(8)]
            answers += [pool.submit(over_grpc, n) for n in range(8)]
            wave.wait(30)
            time.sleep(0.3)
            waiting = sum(not answer.done() for answer in answers)
            running.process.send_signal(signal.SIGTERM)
            assert [answer.result(60) for answer in answers] == [3] * 16
        assert running.process.wait(60) == 0
        assert waiting > 4
    finally:
        kill(running)
