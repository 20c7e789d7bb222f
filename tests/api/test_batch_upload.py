"""`/v1/predict/batch`: many films in one request, each of which stands for itself."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.api import batch
from cxrserve.api.rest import create_app
from cxrserve.errors import EngineFailure
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from tests.api.conftest import Serving, png
from tests.api.test_rest import StubRuntime, client_of
from tests.exposition import total
from tests.tiny_package import write_tiny_package

_PATH = "/v1/predict/batch"
_CANARY = "Zyxwvut^Canary"

Part = tuple[str, bytes]


def film(brightness: int) -> bytes:
    return png(np.full((40, 48), brightness, np.uint8))


def parts_of(files: Sequence[Part]) -> list[tuple[str, Part]]:
    return [("image", file) for file in files]


async def post_lines(client: httpx.AsyncClient, files: Sequence[Part], path: str = _PATH) -> Any:
    """The lines of a batch by the index of their image."""
    answer = await client.post(path, files=parts_of(files))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.split("\n") if line]
    by_index = {line["index"]: line for line in lines}
    assert len(lines) == len(by_index) == len(files)
    return [by_index[index] for index in range(len(files))]


async def test_every_film_is_answered_under_its_name_as_if_it_had_been_sent_alone(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    files = [(f"film {shade}.png", film(shade)) for shade in (0, 60, 120, 180, 240)]
    query = "?explain=true&operating_point=screening"
    async with serving() as client:
        lines = await post_lines(client, files, _PATH + query)
        for (name, data), line in zip(files, lines, strict=True):
            alone = (await client.post(f"/v1/predict{query}", content=data)).json()
            assert line["name"] == name
            assert line["answer"]["results"] == alone["results"]
            assert line["answer"]["image"] == alone["image"]
    assert len({line["answer"]["id"] for line in lines}) == len(files)


async def test_a_film_that_cannot_be_read_fails_alone(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    cut_off = film(90)[:60]
    files = [("a", film(10)), ("b", b"%PDF-1.7 letter"), ("c", cut_off), ("d", film(200))]
    async with serving() as client:
        lines = await post_lines(client, files)
    assert ["answer" in line for line in lines] == [True, False, False, True]
    assert lines[1]["problem"]["status"] == 415
    assert (lines[2]["problem"]["status"], lines[2]["problem"]["reasons"]) == (422, ["truncated"])
    assert lines[2]["problem"]["instance"].endswith(".2")


async def test_a_film_over_the_limit_of_one_is_refused_alone(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    files = [("large", bytes(4000)), ("small", film(10))]
    async with serving(max_upload_mb=0.002) as client:
        large, small = await post_lines(client, files)
    assert large["problem"]["code"] == "too_large"
    assert "answer" in small


async def test_films_that_find_no_room_are_told_when_to_come_back_and_the_others_are_answered(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving(queue_size=1, processors=1) as client:
        lines = await post_lines(client, [(str(shade), film(shade)) for shade in range(6)])
    refused = [line["problem"] for line in lines if "problem" in line]
    assert 0 < len(refused) < len(lines)
    for problem in refused:
        assert problem["status"] == 429
        assert problem["retry_after_s"] > 0


async def test_an_unforeseen_failure_stays_with_its_film_and_its_text_stays_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def predict(data: bytes, *_: Any, **__: Any) -> None:
        if data == b"foreseen":
            raise EngineFailure("the network gave logits that are not finite")
        raise RuntimeError(_CANARY)

    with caplog.at_level(logging.DEBUG):
        async with client_of(StubRuntime(predict)) as client:
            lines = await post_lines(client, [("a", b"x"), ("b", b"foreseen")])
    assert [line["problem"]["code"] for line in lines] == ["internal", "engine_failure"]
    assert _CANARY not in json.dumps(lines) + caplog.text


async def test_names_go_back_to_their_sender_and_nowhere_else(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    files = [(f"{_CANARY}.png", film(1)), (f"{_CANARY}.pdf", b"%PDF-1.7")]
    with caplog.at_level(logging.DEBUG):
        async with serving() as client:
            lines = await post_lines(client, files)
            metrics = (await client.get("/metrics")).text
    assert [line["name"] for line in lines] == [name for name, _ in files]
    assert 'route="/v1/predict/batch"' in metrics
    assert _CANARY not in metrics
    server_log = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("cxrserve"))
    assert server_log
    assert _CANARY not in server_log


@settings(max_examples=100)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters='"\\', min_codepoint=32, codec="utf-8")),
        max_size=5,
    )
)
def test_whatever_a_film_is_called_its_line_is_one_line_with_that_name(names: list[str]) -> None:
    async def predict(*_: Any, **__: Any) -> None:
        raise EngineFailure("far enough")

    async def ask() -> None:
        async with client_of(StubRuntime(predict)) as client:
            lines = await post_lines(client, [(f"x{name}", b"x") for name in names])
            assert [line["name"] for line in lines] == [f"x{name}" for name in names]

    if names:
        asyncio.run(ask())


async def test_both_count_as_answers_and_refusals(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        await post_lines(client, [("a", film(1)), ("b", film(2)), ("c", b"no film")])
        metrics = (await client.get("/metrics")).text
    name = "cxrserve_requests_total"
    assert total(metrics, name) == 3
    assert total(metrics, name, protocol="batch", outcome="answered", model="tiny@1.0.0") == 2
    assert total(metrics, name, protocol="batch", outcome="unsupported_media_type") == 1
    assert total(metrics, "cxrserve_decoding_failures_total", reason="unsupported") == 1


class Scene:
    """The application under a server that shows every message; its predictor waits for `go`."""

    def __init__(self) -> None:
        self.go = {b"slow": asyncio.Event(), b"quick": asyncio.Event()}
        self.stopped: list[bytes] = []
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.app: FastAPI = create_app(StubRuntime(self._predict))

    async def _predict(self, data: bytes, *_: Any, **__: Any) -> None:
        try:
            await self.go[data].wait()
        except asyncio.CancelledError:
            self.stopped.append(data)
            raise
        raise EngineFailure("far enough")

    async def line(self) -> Any:
        while not (message := await asyncio.wait_for(self.sent.get(), 5)).get("body"):
            pass
        return json.loads(message["body"])

    @asynccontextmanager
    async def asked(self, *films: bytes, send: Any = None) -> AsyncIterator[None]:
        send = send or self.sent.put
        request = httpx.Request("POST", "http://x", files=parts_of([("n", one) for one in films]))
        body = request.read()
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        scope = {
            "type": "http",
            "method": "POST",
            "path": _PATH,
            "raw_path": _PATH.encode(),
            "query_string": b"",
            "headers": [(key.lower(), value) for key, value in request.headers.raw],
            "http_version": "1.1",
        }
        running = asyncio.create_task(self.app(scope, self.messages.get, send))
        yield
        await asyncio.wait_for(running, 5)
        assert self.app.state.admission.requests == 0
        assert self.app.state.admission.upload_bytes == 0


async def test_a_film_that_is_done_is_sent_while_others_are_still_read() -> None:
    scene = Scene()
    async with scene.asked(b"slow", b"quick"):
        scene.go[b"quick"].set()
        assert (await scene.line())["index"] == 1
        scene.go[b"slow"].set()
        assert (await scene.line())["index"] == 0


async def test_what_is_left_stops_when_the_caller_hangs_up() -> None:
    scene = Scene()
    async with scene.asked(b"quick", b"slow", b"slow"):
        scene.go[b"quick"].set()
        await scene.line()
        scene.messages.put_nowait({"type": "http.disconnect"})
    assert scene.stopped == [b"slow", b"slow"]


async def test_what_is_left_stops_when_the_answer_cannot_be_sent() -> None:
    scene = Scene()
    scene.go[b"quick"].set()

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            raise OSError("broken pipe")

    async with scene.asked(b"quick", b"slow", send=send):
        pass
    assert scene.stopped == [b"slow"]


async def test_what_is_left_stops_when_the_caller_hangs_up_in_the_middle_of_a_line() -> None:
    scene = Scene()
    scene.go[b"quick"].set()
    sending = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            sending.set()
            await asyncio.Event().wait()

    async with scene.asked(b"quick", b"slow", send=send):
        await asyncio.wait_for(sending.wait(), 5)
        scene.messages.put_nowait({"type": "http.disconnect"})
    assert scene.stopped == [b"slow"]


async def _refuse_all(*_: Any, **__: Any) -> None:
    raise EngineFailure("far enough")


async def test_a_large_batch_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_disk(_: Any) -> None:
        raise AssertionError("the upload was written to a temporary file")

    seen: list[int] = []

    async def predict(data: bytes, *_: Any, **__: Any) -> None:
        seen.append(len(data))
        raise EngineFailure("far enough")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", to_disk)
    async with client_of(StubRuntime(predict)) as client:
        await post_lines(client, [("a", bytes(20 << 20)), ("b", bytes(30 << 20))])
    assert seen == [20 << 20, 30 << 20]


async def test_as_many_films_as_allowed_are_read_and_one_more_is_refused() -> None:
    app = create_app(StubRuntime(_refuse_all))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await post_lines(client, [("n", b"x")] * batch.MOST_IMAGES)
        answer = await client.post(_PATH, files=parts_of([("n", b"x")] * (batch.MOST_IMAGES + 1)))
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"
    assert answer.json()["limit_parts"] == batch.MOST_IMAGES
    assert app.state.admission.upload_bytes == app.state.admission.requests == 0


async def test_parts_without_end_are_dropped_as_they_come() -> None:
    """A thousand parts a chunk: what is over the limit is read, and not kept."""
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    chunks_read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal chunks_read
        for _ in range(50):
            chunks_read += 1
            yield part * 1000

    app = create_app(StubRuntime(_refuse_all))
    kept: list[int] = []
    app.state.admission._grow = kept.append
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(
            _PATH, content=body(), headers={"content-type": "multipart/form-data; boundary=x"}
        )
    assert answer.json()["code"] == "too_large"
    assert chunks_read == 50
    assert len(kept) == 1


async def test_a_batch_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MOST_BYTES", 200_000)
    runtime = StubRuntime(_refuse_all)
    runtime.settings = Settings(max_upload_mb=0.1)
    async with client_of(runtime) as client:
        await post_lines(client, [("n", bytes(90_000))] * 2)
        answer = await client.post(_PATH, files=parts_of([("n", bytes(90_000))] * 3))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def _cut_in_the_last_part(body: bytes) -> bytes:
    return body[:-40]


def _without_its_last_boundary(body: bytes) -> bytes:
    return body[:-4]


@pytest.mark.parametrize("cut", [_cut_in_the_last_part, _without_its_last_boundary])
async def test_a_batch_that_breaks_off_is_refused_rather_than_answered_in_part(
    cut: Callable[[bytes], bytes],
) -> None:
    request = httpx.Request("POST", "http://x", files=parts_of([("a", b"x"), ("b", bytes(50))]))
    async with client_of(StubRuntime(_refuse_all)) as client:
        answer = await client.post(
            _PATH,
            content=cut(request.read()),
            headers={"content-type": request.headers["content-type"]},
        )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        ({"content": b"a film"}, "no_image_part"),
        ({"files": {"picture": ("n", b"x")}}, "no_image_part"),
        ({"files": {"image": (None, "text")}}, "no_image_part"),
        ({"files": {"image": ("n", b"x")}, "params": {"priority": "soon"}}, "unknown_option"),
        ({"files": {"image": ("n", b"x")}, "params": {"deadline_ms": "-1"}}, "unknown_option"),
    ],
)
async def test_a_batch_that_cannot_be_understood_is_a_problem_as_a_whole(
    request_of: dict[str, Any], code: str
) -> None:
    async with client_of(StubRuntime(_refuse_all)) as client:
        answer = await client.post(_PATH, **request_of)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_before_warm_up_a_batch_is_told_to_come_back() -> None:
    async with client_of(Runtime(Settings())) as client:
        answer = await client.post(_PATH, files=parts_of([("n", b"x")]))
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_batch_is_in_the_public_description() -> None:
    async with client_of(Runtime(Settings())) as client:
        document = (await client.get("/openapi.json")).json()
    operation = document["paths"][_PATH]["post"]
    assert list(operation["responses"]["200"]["content"]) == ["application/x-ndjson"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
