"""The Open Inference Protocol over HTTP: what clients send, and what hostile ones do."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from cxrserve.api.grpc import tensors
from cxrserve.api.oip_http import bodies, routes
from cxrserve.batching.line import Priority, Waiting
from cxrserve.engines.engine import Engine
from cxrserve.errors import EngineFailure
from cxrserve.predictor import Predictor
from tests.api.conftest import Service, Serving, ServingBoth, png
from tests.tiny_package import SIDE, write_tiny_package, write_tiny_segmentation

_PATH = "/v2/models/tiny/infer"
_LENGTH = "Inference-Header-Content-Length"
_PIXELS = np.arange(2 * SIDE * SIDE, dtype=np.uint8).reshape(2, 1, SIDE, SIDE)


@pytest.fixture(autouse=True)
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_tiny_package(folder / "tiny")
    write_tiny_segmentation(folder / "lungs-unet")
    return folder


def pixels_input(pixels: NDArray[np.uint8] = _PIXELS, **changes: Any) -> dict[str, Any]:
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    return {**given, "data": pixels.ravel().tolist(), **changes}


def binary(
    head: dict[str, Any], *tail: bytes, length: int | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with binary data."""
    text = json.dumps(head).encode()
    return text + b"".join(tail), {_LENGTH: str(len(text) if length is None else length)}


def files_input(files: list[bytes], *, flat: bool = False) -> tuple[dict[str, Any], bytes]:
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in files)
    shape = [len(files)] if flat else [len(files), 1]
    parameters = {"binary_data_size": len(raw)}
    return {"name": "image", "datatype": "BYTES", "shape": shape, "parameters": parameters}, raw


def arrays_of(answer: httpx.Response) -> dict[str, NDArray[Any]]:
    """Outputs of a response, whichever way they came."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get(_LENGTH, len(answer.content)))
    head, tail = json.loads(answer.content[:length]), answer.content[length:]
    found = {}
    for output in head["outputs"]:
        if "data" in output:
            found[output["name"]] = np.array(output["data"]).reshape(output["shape"])
            continue
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = np.frombuffer(tail[:size], "<f4").reshape(output["shape"])
        tail = tail[size:]
    assert tail == b""
    return found


def expected_logits(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    bright = pixels.mean(axis=(1, 2, 3)) * 8 / 255
    return np.stack([-bright, bright], axis=1)


async def test_json_in_json_out(serving: Serving) -> None:
    async with serving() as client:
        answer = await client.post(_PATH, json={"id": "mine", "inputs": [pixels_input()]})
        arrays = arrays_of(answer)
    told = answer.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("tiny", "1", "mine")
    assert [one["name"] for one in told["outputs"]] == ["logits", "probabilities", "cam"]
    np.testing.assert_allclose(arrays["logits"], expected_logits(_PIXELS), rtol=1e-5)
    np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, atol=2e-6)
    assert arrays["cam"].shape == (2, 2, 4, 4)


async def test_without_an_id_none_comes_back(serving: Serving) -> None:
    async with serving() as client:
        answer = await client.post(_PATH, json={"inputs": [pixels_input()]})
    assert "id" not in answer.json()


async def test_every_way_to_send_and_get_pixels_gives_the_same(serving: Serving) -> None:
    raw = _PIXELS.tobytes()
    bare = {k: v for k, v in pixels_input().items() if k != "data"}
    sized = {**bare, "parameters": {"binary_data_size": len(raw)}}
    all_binary = {"parameters": {"binary_data_output": True}}
    mixed = {"outputs": [
        {"name": "cam", "parameters": {"binary_data": True}},
        {"name": "logits"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]}  # fmt: skip
    reverse = {**all_binary, "outputs": [
        {"name": "probabilities", "parameters": {"binary_data": False}},
        {"name": "logits"}, {"name": "cam"},
    ]}  # fmt: skip
    async with serving() as client:
        answers = [await client.post(_PATH, json={"inputs": [pixels_input()]})]
        nested = pixels_input(data=_PIXELS.tolist())
        answers.append(await client.post(_PATH, json={"inputs": [nested]}))
        for wish in ({}, all_binary, mixed, reverse):
            body, headers = binary({"inputs": [sized], **wish}, raw)
            answers.append(await client.post(_PATH, content=body, headers=headers))
            answers.append(await client.post(_PATH, json={"inputs": [pixels_input()], **wish}))
        found = [arrays_of(answer) for answer in answers]
    assert [_LENGTH in answer.headers for answer in answers] == [False] * 4 + [True] * 6
    for arrays in found:
        for name, array in arrays.items():
            assert array.astype("<f4").tobytes() == found[0][name].astype("<f4").tobytes()


async def test_several_files_in_one_request_are_answered_in_their_order(serving: Serving) -> None:
    shades = (0, 200, 100, 255, 50)
    files = [png(np.full((40, 40), shade, np.uint8)) for shade in shades]
    async with serving() as client:
        for flat in (False, True):
            one, raw = files_input(files, flat=flat)
            body, headers = binary({"inputs": [one], "outputs": [{"name": "logits"}]}, raw)
            arrays = arrays_of(await client.post(_PATH, content=body, headers=headers))
            assert list(arrays) == ["logits"]
            np.testing.assert_allclose(
                arrays["logits"][:, 1], [shade * 8 / 255 for shade in shades], rtol=1e-5
            )


async def test_many_requests_at_once_each_get_their_own_answer(serving: Serving) -> None:
    rng = np.random.default_rng(0)

    async def one(client: httpx.AsyncClient, number: int) -> None:
        count = int(rng.integers(1, 5))
        pixels = rng.integers(0, 256, (count, 1, 1, 1), np.uint8).repeat(SIDE, 2).repeat(SIDE, 3)
        asked = {"id": str(number), "inputs": [pixels_input(pixels)]}
        answer = await client.post(_PATH, json=asked)
        assert answer.json()["id"] == str(number)
        np.testing.assert_allclose(
            arrays_of(answer)["logits"], expected_logits(pixels), rtol=1e-5, atol=1e-6
        )

    async with serving(queue_size=1000) as client:
        await asyncio.gather(*(one(client, number) for number in range(60)))


async def test_compressed_bodies_and_answers(serving: Serving) -> None:
    body = json.dumps({"inputs": [pixels_input()]}).encode()
    codings: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "identity": bytes,
    }
    async with serving() as client:
        plain = (await client.post(_PATH, content=body)).json()
        for sent, pack in codings.items():
            for wanted in codings:
                answer = await client.post(
                    _PATH,
                    content=pack(body),
                    headers={"content-encoding": sent, "accept-encoding": wanted},
                )
                assert answer.headers.get("content-encoding", "identity") == wanted
                assert answer.json() == plain
        many = np.repeat(_PIXELS, 8, axis=0)
        head = {
            "inputs": [pixels_input(many, data=None, parameters={"binary_data_size": many.nbytes})],
            "parameters": {"binary_data_output": True},
        }
        packed, headers = binary(head, many.tobytes())
        headers |= {"content-encoding": "gzip", "accept-encoding": "gzip"}
        answer = await client.post(_PATH, content=gzip.compress(packed), headers=headers)
        assert answer.headers["content-encoding"] == "gzip"
        assert arrays_of(answer)["cam"].shape == (16, 2, 4, 4)
        refusing = {"accept-encoding": "gzip;q=0, deflate; q=0.0"}
        answer = await client.post(_PATH, content=body, headers=refusing)
        assert "content-encoding" not in answer.headers


async def test_unknown_query_parameters_and_members_are_ignored(serving: Serving) -> None:
    asked = {"inputs": [{**pixels_input(), "extra": 1}], "other": {}, "parameters": {"odd": "x"}}
    async with serving() as client:
        assert (await client.post(f"{_PATH}?a=b&a=c", json=asked)).status_code == 200
        assert (await client.get("/v2?x=1")).status_code == 200
        assert (await client.get("/v2/models/tiny?x=1")).status_code == 200


async def test_the_highest_classes_come_as_text(serving: Serving) -> None:
    bright = np.full((1, 1, SIDE, SIDE), 255, np.uint8)
    async with serving() as client:
        for classes, shape in ((1, [1, 1]), (9, [1, 2])):
            wanted = {"name": "logits", "parameters": {"classification": classes}}
            asked = {"inputs": [pixels_input(bright)], "outputs": [wanted]}
            (output,) = (await client.post(_PATH, json=asked)).json()["outputs"]
            assert (output["datatype"], output["shape"]) == ("BYTES", shape)
            assert output["data"][0] == "8.000000:1:pneumonia"


async def test_a_label_that_nothing_trained_has_no_probability(
    serving: Serving, packages: Path
) -> None:
    labels = [{"name": "a"}, {"name": "b", "trained": False}]
    write_tiny_package(
        packages / "untrained", name="untrained", labels=labels, operating_points={"x": {"a": 0.5}},
        default_operating_point="x", activation="sigmoid", task="multi-label",
    )  # fmt: skip
    async with serving() as client:
        asked: dict[str, Any] = {"inputs": [pixels_input()]}
        answer = await client.post("/v2/models/untrained/infer", json=asked)
        by_name = {one["name"]: one["data"] for one in answer.json()["outputs"]}
        assert by_name["probabilities"][1::2] == [None, None]
        assert None not in by_name["probabilities"][0::2]
        asked["parameters"] = {"binary_data_output": True}
        arrays = arrays_of(await client.post("/v2/models/untrained/infer", json=asked))
        assert np.isnan(arrays["probabilities"]).tolist() == [[False, True]] * 2


async def test_a_mask_comes_whole(serving: Serving) -> None:
    async with serving() as client:
        asked: dict[str, Any] = {"inputs": [pixels_input()]}
        path = "/v2/models/lungs-unet/infer"
        as_json = arrays_of(await client.post(path, json=asked))["mask"]
        asked["parameters"] = {"binary_data_output": True}
        as_bytes = arrays_of(await client.post(path, json=asked))["mask"]
        many = np.repeat(_PIXELS, 32, axis=0)
        large = arrays_of(await client.post(path, json={"inputs": [pixels_input(many)]}))["mask"]
    assert as_json.astype("<f4").tobytes() == as_bytes.tobytes()
    assert as_json.shape == (2, 2, 16, 16)
    np.testing.assert_array_equal(large, np.repeat(as_json, 32, axis=0))


async def test_priority_and_timeout_reach_the_batcher(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Waiting | tuple[Priority, float]] = []
    async with serving_both() as service:
        batcher, clock = service.runtime.predictor.batcher, service.runtime.predictor.clock
        enter = batcher.enter

        def watch(engines: Any, asking: Any) -> Any:
            seen.append((asking.priority, asking.deadline - clock()))
            return enter(engines, asking)

        monkeypatch.setattr(batcher, "enter", watch)
        for parameters in (
            {}, {"priority": 1}, {"priority": 2}, {"priority": 3, "timeout": 7 * 10**6},
            {"priority": 99, "timeout": 10**400}, {"timeout": 0},
        ):  # fmt: skip
            asked = {"inputs": [pixels_input()], "parameters": parameters}
            answer = await service.http.post(_PATH, json=asked)
            assert answer.status_code == 200
        late = await service.http.post(
            _PATH, json={"inputs": [pixels_input()], "parameters": {"timeout": 1}}
        )
    assert [one[0] for one in seen[:6]] == [  # type: ignore[index]
        Priority.ROUTINE, Priority.STAT, Priority.URGENT, Priority.ROUTINE, Priority.ROUTINE,
        Priority.ROUTINE,
    ]  # fmt: skip
    left = [round(one[1]) for one in seen[:6]]  # type: ignore[index]
    assert left == [30, 30, 30, 7, 600, 30]
    assert late.status_code == 504
    assert "no answer within" in late.json()["error"]


_SMALL = np.zeros((1, 1, SIDE, SIDE), np.uint8)
_BAD: dict[str, Any] = {
    "no inputs": {"inputs": []},
    "none said": {},
    "a list": [1],
    "inputs that are none": {"inputs": 5},
    "two inputs": {"inputs": [pixels_input(_SMALL), pixels_input(_SMALL)]},
    "an unknown input": {"inputs": [pixels_input(_SMALL, name="INPUT0")]},
    "another datatype": {"inputs": [pixels_input(_SMALL, datatype="FP32")]},
    "an unknown datatype": {"inputs": [pixels_input(_SMALL, datatype="UINT7")]},
    "another side": {"inputs": [pixels_input(np.zeros((1, 1, 8, 8), np.uint8))]},
    "no batch": {"inputs": [pixels_input(_SMALL, shape=[1, SIDE, SIDE])]},
    "an empty batch": {"inputs": [pixels_input(_SMALL, shape=[0, 1, SIDE, SIDE], data=[])]},
    "no shape": {"inputs": [pixels_input(_SMALL, shape=[], data=[1])]},
    "a negative shape": {"inputs": [pixels_input(_SMALL, shape=[-1, 1, SIDE, SIDE])]},
    "a huge shape": {"inputs": [pixels_input(_SMALL, shape=[2**62, 2**62, SIDE, 0], data=[])]},
    "a shape of text": {"inputs": [pixels_input(_SMALL, shape=["1", 1, SIDE, SIDE])]},
    "too many images": {"inputs": [pixels_input(np.zeros((65, 1, SIDE, SIDE), np.uint8))]},
    "too few values": {"inputs": [pixels_input(_SMALL, data=[1, 2])]},
    "too large a value": {"inputs": [pixels_input(_SMALL, data=[256] * SIDE * SIDE)]},
    "text for a value": {"inputs": [pixels_input(_SMALL, data=["x"] * SIDE * SIDE)]},
    "null for a value": {"inputs": [pixels_input(_SMALL, data=[None] * SIDE * SIDE)]},
    "no data": {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, SIDE, SIDE]}]},
    "bytes that did not come": {
        "inputs": [pixels_input(_SMALL, parameters={"binary_data_size": 1024})]
    },
    "a size of text": {"inputs": [pixels_input(_SMALL, parameters={"binary_data_size": "9"})]},
    "a region nobody registered": {
        "inputs": [pixels_input(_SMALL, parameters={"shared_memory_region": "r"})]
    },
    "half a character": {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}]
    },
    "a file that is none": {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["text"]}]
    },
    "an empty file": {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [""]}]
    },
    "an unknown output": {"inputs": [pixels_input(_SMALL)], "outputs": [{"name": "OUTPUT0"}]},
    "an output twice": {"inputs": [pixels_input(_SMALL)], "outputs": [{"name": "cam"}] * 2},
    "classes of a map": {
        "inputs": [pixels_input(_SMALL)],
        "outputs": [{"name": "cam", "parameters": {"classification": 1}}],
    },
    "an output in a region nobody registered": {
        "inputs": [pixels_input(_SMALL)],
        "outputs": [{"name": "cam", "parameters": {"shared_memory_region": "r"}}],
    },
    "a priority that is none": {
        "inputs": [pixels_input(_SMALL)], "parameters": {"priority": "high"}
    },
    "a negative timeout": {"inputs": [pixels_input(_SMALL)], "parameters": {"timeout": -1}},
    "a flag that is none": {
        "inputs": [pixels_input(_SMALL)], "parameters": {"binary_data_output": 1}
    },
    "a parameter that is a list": {"inputs": [pixels_input(_SMALL)], "parameters": {"x": [1]}},
    "a long id": {"inputs": [pixels_input(_SMALL)], "id": "i" * 300},
    "an id of half a character": {"inputs": [pixels_input(_SMALL)], "id": "\udfff"},
}  # fmt: skip


async def test_what_is_wrong_with_a_request_is_said_as_the_protocol_has_it(
    serving: Serving,
) -> None:
    async with serving() as client:
        for what, asked in _BAD.items():
            answer = await client.post(_PATH, content=json.dumps(asked))
            assert answer.status_code == 400, (what, answer.status_code, answer.text)
            assert list(answer.json()) == ["error"], what
            assert len(answer.json()["error"]) < 600, what


async def test_bodies_that_are_not_what_they_say(serving: Serving) -> None:
    good = json.dumps({"inputs": [pixels_input()]}).encode()
    bomb = zlib.compress(bytes(80 << 20), 9)
    cases: list[tuple[bytes, dict[str, str]]] = [
        (b"", {}),
        (b"{", {}),
        (b"\xff\xfe\xfd", {}),
        (b"[" * 100_000, {}),
        (b'{"inputs": ' + b"9" * 5000 + b"}", {}),
        (good + b"tail", {_LENGTH: str(len(good))}),
        *((good, {_LENGTH: length}) for length in
          ("0", "-1", "1.5", "x", "٣", str(len(good) + 1), "9" * 5000)),
        (good, {"content-encoding": "br"}),
        (good, {"content-encoding": "gzip"}),
        (gzip.compress(good)[:-9], {"content-encoding": "gzip"}),
        (gzip.compress(good) + b"x", {"content-encoding": "gzip"}),
        (bomb, {"content-encoding": "deflate"}),
        (b'{"x": "' + b" " * (5 << 20) + b'"}', {}),
        (bytes(66 << 20), {}),
    ]  # fmt: skip
    async with serving() as client:
        for body, headers in cases:
            raw = {name.encode(): value.encode() for name, value in headers.items()}
            answer = await client.post(_PATH, content=body, headers=raw)
            assert answer.status_code == 400, (body[:20], str(headers)[:60], answer.text)
            assert list(answer.json()) == ["error"]
        # The service goes on, and holds nothing of what it refused.
        assert (await client.post(_PATH, content=good)).status_code == 200


async def test_unknown_models_and_versions_are_not_found(serving: Serving) -> None:
    asked = {"inputs": [pixels_input()]}
    async with serving() as client:
        for base in ("none", "tiny/versions/9", "a%20b", "%ED%A0%80", "n" * 5000):
            for path in ("", "/config", "/stats"):
                answer = await client.get(f"/v2/models/{base}{path}")
                assert answer.status_code == 404, path
                assert "unknown model" in answer.json()["error"]
                assert len(answer.json()["error"]) < 400
            answer = await client.post(f"/v2/models/{base}/infer", json=asked)
            assert answer.status_code == 404
            assert "Request for unknown model" in answer.json()["error"]
            assert (await client.get(f"/v2/models/{base}/ready")).status_code == 404
        assert (await client.get("/v2/models/tiny/versions/1.0.0/ready")).status_code == 200
        answer = await client.post("/v2/models/tiny/versions/1.0.0/infer", json=asked)
        assert answer.status_code == 200
        for path in ("/v2/nothing", "/v2/models/tiny/other", "/v2/models"):
            answer = await client.get(path)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])


async def test_a_full_service_says_when_to_come_back(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_both(queue_size=4) as service:
        for queue in service.app.state.runtime.batcher:
            queue.booked[Priority.ROUTINE] += 4
        asked = {"inputs": [pixels_input(_PIXELS)]}
        answer = await service.http.post(_PATH, json=asked)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert list(answer.json()) == ["error"]
        monkeypatch.setattr(service.app.state.admission, "_most_requests", 0)
        answer = await service.http.post(_PATH, json=asked)
        assert (answer.status_code, list(answer.json())) == (429, ["error"])


async def test_before_warm_up_the_protocol_says_not_yet(serving_both: ServingBoth) -> None:
    async with serving_both(start=False) as service:
        assert (await service.http.get("/v2/health/live")).status_code == 200
        assert (await service.http.get("/v2")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny"):
            assert (await service.http.get(path)).status_code == 503
        answer = await service.http.post(_PATH, json={"inputs": [pixels_input()]})
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert "retry-after" in answer.headers


async def test_an_unforeseen_failure_says_nothing_of_itself(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("Zyxwvut^Canary")

    monkeypatch.setattr(Predictor, "infer", fail)
    async with serving_both() as service:
        answer = await service.http.post(_PATH, json={"inputs": [pixels_input()]})
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "Canary" not in answer.text + caplog.text
    assert "RuntimeError at" in caplog.text


async def test_who_hangs_up_leaves_nothing_behind(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def slow(self: Predictor, *_: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    monkeypatch.setattr(Predictor, "infer", slow)
    async with serving_both() as service:
        body = json.dumps({"inputs": [pixels_input()]}).encode()
        scope = {
            "type": "http", "method": "POST", "path": _PATH, "raw_path": _PATH.encode(),
            "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
            "server": ("test", 80), "client": ("10.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await started.wait()
                return {"type": "http.disconnect"}
            return message

        async def send(_: Any) -> None: ...

        await asyncio.wait_for(service.app(scope, receive, send), 10)
        await asyncio.wait_for(stopped.wait(), 10)
        assert service.app.state.admission.requests == 0
        assert service.app.state.admission.upload_bytes == 0


async def test_metadata_and_config_say_what_is_served(serving: Serving) -> None:
    async with serving() as client:
        server = (await client.get("/v2")).json()
        metadata = (await client.get("/v2/models/tiny")).json()
        config = (await client.get("/v2/models/tiny/config")).json()
    assert server["name"] == "cxrserve"
    assert "binary_tensor_data" in server["extensions"]
    assert "system_shared_memory" not in server["extensions"]
    assert metadata["name"] == "tiny"
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 1, SIDE, SIDE]},
        {"name": "image", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert {one["name"]: one["shape"] for one in metadata["outputs"]} == {
        "logits": [-1, 2], "probabilities": [-1, 2], "cam": [-1, 2, 4, 4]
    }  # fmt: skip
    assert config["max_batch_size"] == 64
    assert config["input"][0]["dims"] == [1, SIDE, SIDE]
    assert config["input"][1]["data_type"] == "TYPE_STRING"


async def test_statistics_count_every_image_once(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def statistics(service: Service, name: str = "tiny") -> dict[str, Any]:
        (told,) = (await service.http.get(f"/v2/models/{name}/stats")).json()["model_stats"]
        return dict(told)

    async with serving_both() as service:
        fresh = await statistics(service)
        assert (fresh["inference_count"], fresh["execution_count"], fresh["last_inference"]) == (
            0, 0, 0,
        )  # fmt: skip
        for _ in range(3):
            await service.http.post(_PATH, json={"inputs": [pixels_input()]})
        one, raw = files_input([png(np.zeros((9, 9), np.uint8))] * 3)
        body, headers = binary({"inputs": [one]}, raw)
        await service.http.post(_PATH, content=body, headers=headers)
        told = await statistics(service)
        assert told["inference_count"] == told["inference_stats"]["success"]["count"] == 9
        batches = Counter({one["batch_size"]: one["compute_infer"]["count"]
                           for one in told["batch_stats"]})  # fmt: skip
        assert batches.total() == told["execution_count"]
        assert sum(size * count for size, count in batches.items()) == 9
        for stage in ("compute_input", "compute_infer", "success"):
            assert told["inference_stats"][stage]["ns"] > 0
        assert told["inference_stats"]["fail"]["count"] == 0
        assert (await statistics(service, "lungs-unet"))["inference_count"] == 0

        engine = service.runtime.predictor.repository.get("tiny").engine
        monkeypatch.setattr(type(engine), "run", _failing)
        failed = await service.http.post(_PATH, json={"inputs": [pixels_input()]})
        assert failed.status_code == 500
        told = await statistics(service)
        assert told["inference_count"] == 9
        assert told["inference_stats"]["fail"]["count"] == 2
        everything = (await service.http.get("/v2/models/stats")).json()["model_stats"]
        assert [one["name"] for one in everything] == ["lungs-unet", "tiny"]


def _failing(self: Engine, pixels: Any) -> None:
    raise EngineFailure("broken")


async def index_of(client: httpx.AsyncClient, **asked: Any) -> dict[str, tuple[str, str]]:
    told = (await client.post("/v2/repository/index", json=asked)).json()
    return {one["name"]: (one["version"], one["state"]) for one in told}


async def test_models_stay_unless_a_setting_lets_clients_change_them(serving: Serving) -> None:
    async with serving() as client:
        for name in ("tiny", "none"):
            for change in ("load", "unload"):
                answer = await client.post(f"/v2/repository/models/{name}/{change}")
                assert (answer.status_code, list(answer.json())) == (501, ["error"])
        assert await index_of(client) == {
            "lungs-unet": ("1", "READY"), "tiny": ("1", "READY")
        }  # fmt: skip
        for path in ("register", "status", "unregister"):
            answer = await client.post(
                f"/v2/systemsharedmemory/region/r/{path}", json={"key": "/k", "byte_size": 1}
            )
            assert answer.status_code == {"register": 501, "status": 404, "unregister": 200}[path]
        assert (await client.get("/v2/systemsharedmemory/status")).json() == []
        assert (await client.get("/v2/cudasharedmemory/status")).json() == []
        assert (await client.post("/v2/cudasharedmemory/unregister")).status_code == 200
        cuda = await client.post("/v2/cudasharedmemory/region/r/register", json={})
        assert (cuda.status_code, list(cuda.json())) == (501, ["error"])


async def test_tensors_may_lie_in_shared_memory_where_a_setting_allows_it(
    serving: Serving,
) -> None:
    place = Path("/dev/shm") / f"cxrserve-test-{uuid.uuid4().hex}"
    place.write_bytes(_PIXELS.tobytes() + bytes(1024))
    lies = {"shared_memory_region": "in", "shared_memory_byte_size": _PIXELS.nbytes}
    goes = {"shared_memory_region": "out", "shared_memory_byte_size": 16}
    asked = {
        "inputs": [pixels_input(data=None, parameters=lies)],
        "outputs": [{"name": "logits", "parameters": goes}, {"name": "probabilities"}],
    }
    region = "/v2/systemsharedmemory/region"
    try:
        async with serving(shared_memory="on") as client:
            assert "system_shared_memory" in (await client.get("/v2")).json()["extensions"]
            for name, offset, size in (("in", 0, _PIXELS.nbytes), ("out", _PIXELS.nbytes, 1024)):
                told = {"key": f"/{place.name}", "offset": offset, "byte_size": size}
                answer = await client.post(f"{region}/{name}/register", json=told)
                assert answer.status_code == 200
                (known,) = (await client.get(f"{region}/{name}/status")).json()
                assert known == {"name": name, **told}
            answer = await client.post(_PATH, json=asked)
            assert answer.status_code == 200, answer.text
            logits, probabilities = answer.json()["outputs"]
            assert logits["parameters"] == goes
            assert len(probabilities["data"]) == 4
            written = np.frombuffer(place.read_bytes()[_PIXELS.nbytes :][:16], "<f4")
            np.testing.assert_allclose(written.reshape(2, 2), expected_logits(_PIXELS), rtol=1e-5)

            os.truncate(place, 100)
            answer = await client.post(_PATH, json=asked)
            assert answer.status_code == 400
            assert "cut short" in answer.json()["error"]
            assert (await client.post("/v2/systemsharedmemory/unregister")).status_code == 200
            assert (await client.get("/v2/systemsharedmemory/status")).json() == []
            assert (await client.post(_PATH, json=asked)).status_code == 400
    finally:
        place.unlink()


async def test_a_model_is_unloaded_and_loaded_again(serving: Serving, packages: Path) -> None:
    (packages / "broken").mkdir()
    async with serving(repository_control="on") as client:
        assert (await client.post("/v2/repository/models/tiny/unload")).status_code == 200
        assert await index_of(client) == {
            "broken": ("", "UNAVAILABLE"), "lungs-unet": ("1", "READY"),
            "tiny": ("", "UNAVAILABLE"),
        }  # fmt: skip
        assert set(await index_of(client, ready=True)) == {"lungs-unet"}
        assert (await client.get("/v2/models/tiny/ready")).status_code == 404
        assert (await client.post("/v2/repository/models/tiny/unload")).status_code == 404
        for name in ("none", "broken", "..", "gate", "\ud800".encode(errors="replace").decode()):
            answer = await client.post(f"/v2/repository/models/{name}/load")
            assert answer.status_code in (400, 404), name
            assert list(answer.json()) == ["error"]
        answer = await client.post(
            "/v2/repository/models/tiny/load", json={"parameters": {"config": "{}"}}
        )
        assert answer.status_code == 501
        for wrong in ("[]", '{"parameters": 1}', "x", '{"parameters": {"version": 1}}'):
            answer = await client.post("/v2/repository/models/lungs-unet/unload", content=wrong)
            assert (answer.status_code, list(answer.json())) == (400, ["error"])
        assert (await client.post("/v2/repository/models/tiny/load")).status_code == 200
        assert (await client.get("/v2/models/tiny/ready")).status_code == 200
        asked = {"inputs": [pixels_input()]}
        assert (await client.post(_PATH, json=asked)).status_code == 200


async def test_requests_go_on_while_models_come_and_go(serving: Serving, packages: Path) -> None:
    over = asyncio.Event()
    seen: Counter[tuple[str, float]] = Counter()

    async def keep_asking(client: httpx.AsyncClient, model: str, *, files: bool) -> None:
        black = np.zeros((1, 1, SIDE, SIDE), np.uint8)
        one, raw = files_input([png(black[0, 0])] * 2)
        while not over.is_set():
            path = f"/v2/models/{model}/infer"
            if files:
                body, headers = binary({"inputs": [one]}, raw)
                answer = await client.post(path, content=body, headers=headers)
            else:
                answer = await client.post(path, json={"inputs": [pixels_input(black)]})
            assert answer.status_code == 200, answer.text
            told = answer.json()
            value = 0.0 if model != "tiny" else told["outputs"][0]["data"][1]
            seen[told["model_version"], value] += 1

    async with serving(repository_control="on") as client:
        asking = [
            asyncio.create_task(keep_asking(client, model, files=files))
            for model in ("tiny", "tiny", "lungs-unet") for files in (False, True)
        ]  # fmt: skip
        write_tiny_package(packages / "more", version="1.5.0", name="other")
        for round_ in range(1, 6):
            write_tiny_package(packages / "tiny", version="1.0.0", bias=round_)
            answer = await client.post("/v2/repository/models/tiny/load")
            assert answer.status_code == 200, answer.text
            await client.post("/v2/repository/models/other/load")
            await client.post("/v2/repository/models/other/unload")
        newer = write_tiny_package(packages / "tiny" / "2.0.0", version="2.0.0", bias=9.0)
        assert (await client.post("/v2/repository/models/tiny/load")).status_code == 200
        (newer / "model.onnx").write_bytes(b"broken")
        answer = await client.post("/v2/repository/models/tiny/load")
        assert answer.status_code == 400
        assert "failed to load" in answer.json()["error"]
        assert (await client.get("/v2/models/tiny")).json()["versions"] == ["2", "1"]
        await asyncio.sleep(0.1)
        gone = {"parameters": {"version": "2.0.0"}}
        answer = await client.post("/v2/repository/models/tiny/unload", json=gone)
        assert answer.status_code == 200
        await asyncio.sleep(0.1)
        over.set()
        await asyncio.gather(*asking)
        assert (await client.get("/v2/models/tiny")).json()["versions"] == ["1"]
    assert {("1", 0.0), ("1", 5.0), ("2", 9.0)} <= set(seen)
    assert all(version != "2" or value == 9.0 for version, value in seen)


async def test_unload_waits_for_what_is_in_flight(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    async with serving_both(repository_control="on") as service:
        engine = service.runtime.predictor.repository.get("tiny").engine
        run = type(engine).run

        def slow(self: Engine, pixels: Any) -> Any:
            assert self is not engine or let_go.wait(20)
            return run(self, pixels)

        monkeypatch.setattr(type(engine), "run", slow)
        asked = {"inputs": [pixels_input()]}
        asking = asyncio.create_task(service.http.post(_PATH, json=asked))
        await asyncio.sleep(0.1)
        unload = asyncio.create_task(service.http.post("/v2/repository/models/tiny/unload"))
        await asyncio.sleep(0.1)
        assert not unload.done()
        assert (await service.http.post(_PATH, json=asked)).status_code == 404
        let_go.set()
        assert (await asking).status_code == 200
        assert (await unload).status_code == 200
        assert [q.engine for q in service.runtime.predictor.batcher] == [
            service.runtime.predictor.repository.get("lungs-unet").engine
        ]


async def test_who_asks_to_unload_and_goes_leaves_no_engine_behind(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_both(repository_control="on") as service:
        runtime = service.runtime
        predictor = runtime.predictor
        queue = predictor.batcher.queue_of(predictor.repository.get("tiny").engine)
        queue.visited(1)  # somebody is inside
        unload = asyncio.create_task(runtime.unload("tiny"))
        await asyncio.sleep(0.05)
        unload.cancel()
        await asyncio.gather(unload, return_exceptions=True)
        queue.visited(-1)
        for _ in range(100):
            if len(list(runtime.predictor.batcher)) == 1:
                break
            await asyncio.sleep(0.01)
        assert len(list(runtime.predictor.batcher)) == 1


async def test_trace_and_log_settings_are_told_and_not_changed(serving: Serving) -> None:
    async with serving() as client:
        for path, same, other in (
            ("/v2/trace/setting", {"trace_level": ["OFF"]}, {"trace_level": ["TIMESTAMPS"]}),
            ("/v2/models/tiny/trace/setting", {"trace_rate": None}, {"trace_file": ["x"]}),
            ("/v2/logging", {"log_info": True}, {"log_file": "x"}),
        ):  # fmt: skip
            told = (await client.get(path)).json()
            for asked in ({}, same):
                assert (await client.post(path, json=asked)).json() == told
            answer = await client.post(path, json=other)
            assert (answer.status_code, list(answer.json())) == (501, ["error"])
            for wrong in ('{"\\ud800": 1}', '{"none": 1}', "[]", "{"):
                answer = await client.post(path, content=wrong)
                assert (answer.status_code, list(answer.json())) == (400, ["error"])
            assert (await client.get(path)).json() == told
        assert (await client.get("/v2/models/none/trace/setting")).status_code == 404


async def test_large_requests_are_read_and_answered_off_the_event_loop(
    serving_both: ServingBoth, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop: dict[str, bool] = {}

    def watched(module: Any, name: str) -> None:
        work = getattr(module, name)

        def run(*args: Any, **more: Any) -> Any:
            on_loop[f"{module.__name__.rpartition('.')[2]}.{name}"] = (
                threading.current_thread() is threading.main_thread()
            )
            return work(*args, **more)

        monkeypatch.setattr(module, name, run)

    for module, name in (
        (bodies, "_inflated"), (routes, "infer_request"), (routes, "_written"),
        (tensors, "infer_request"), (tensors, "infer_response"),
    ):  # fmt: skip
        watched(module, name)
    many = np.repeat(_PIXELS, 32, axis=0)
    body = gzip.compress(json.dumps({"inputs": [pixels_input(many)]}).encode())
    message = service_pb2.ModelInferRequest(model_name="lungs-unet")
    values = message.inputs.add(name="pixels", datatype="UINT8", shape=many.shape).contents
    values.uint_contents.extend(many.ravel().tolist())
    async with serving_both() as service:
        answer = await service.http.post(
            "/v2/models/lungs-unet/infer", content=body, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 200
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answered = await stub.ModelInfer(message)
    assert on_loop == dict.fromkeys(on_loop, False)
    assert len(on_loop) == 5
    got = np.frombuffer(answered.raw_output_contents[0], "<f4")
    np.testing.assert_array_equal(got, np.array(answer.json()["outputs"][0]["data"], "<f4"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["pixels", "image", "logits", "UINT8", "BYTES", 10**30, 2**63, 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from([
            "inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "id",
            "binary_data_size", "binary_data", "binary_data_output", "classification", "priority",
            "timeout", "force", "shared_memory_region", "shared_memory_offset", "ready", "key",
            "byte_size", "offset", "trace_level", "log_info", "version",
        ]) | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
_PATHS = (
    _PATH, "/v2/models/lungs-unet/infer", "/v2/repository/index", "/v2/trace/setting",
    "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload", "/v2/logging",
    "/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/region/r/unregister",
    "/v2/models/tiny/trace/setting", "/v2/cudasharedmemory/region/r/register",
)  # fmt: skip
_inputs = st.fixed_dictionaries(
    {"name": st.sampled_from(["pixels", "image"]), "datatype": st.sampled_from(["UINT8", "BYTES"]),
     "shape": st.lists(st.integers(-1, 33), max_size=4) | st.just([1, 1, SIDE, SIDE])},
    optional={"data": _json, "parameters": _json},
)  # fmt: skip
_requests = st.fixed_dictionaries(
    {"inputs": st.lists(_inputs, max_size=2)}, optional={"parameters": _json, "outputs": _json}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def _never_a_failure_of_ours(ask: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_PATHS))
    asked = data.draw(_json | _requests)
    tail = data.draw(st.binary(max_size=20))
    text = json.dumps(asked).encode()
    length = data.draw(st.none() | st.just(str(len(text))) | st.text("0123456789-x", max_size=4))
    headers = {} if length is None else {_LENGTH: length}
    answer = ask(path, text + tail, headers)
    assert answer.status_code < 500 or answer.status_code in (501, 503), (path, asked)
    if answer.status_code >= 400:
        assert list(answer.json()) == ["error"]


async def test_no_json_makes_the_service_fail(serving: Serving) -> None:
    async with serving(repository_control="on", shared_memory="on") as client:
        loop = asyncio.get_running_loop()

        def ask(path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
            work = client.post(path, content=body, headers=headers)
            return asyncio.run_coroutine_threadsafe(work, loop).result(30)

        await asyncio.to_thread(_never_a_failure_of_ours, ask)
