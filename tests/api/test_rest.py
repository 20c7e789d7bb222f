"""The REST adapter where the real service cannot be made to misbehave."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from typing import Any

import httpx
import pytest

from cxrserve.api.rest import create_app
from cxrserve.errors import EngineFailure, NotReady
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings

_CANARY = "Zyxwvut^Canary"


class StubRuntime(Runtime):
    """A runtime whose predictor does what the test wants."""

    def __init__(self, predict: Any) -> None:
        super().__init__(Settings())
        self._stub = type("StubPredictor", (), {"predict": staticmethod(predict)})()

    @property
    def predictor(self) -> Any:
        return self._stub


def client_of(runtime: Runtime) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(runtime))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_an_unforeseen_error_is_a_problem_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(_CANARY)

    with caplog.at_level(logging.DEBUG):
        async with client_of(StubRuntime(fail)) as client:
            answer = await client.post(
                "/v1/predict", content=b"x", headers={"x-request-id": "mine-1"}
            )
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine-1"
    assert _CANARY not in answer.text
    assert _CANARY not in caplog.text
    assert "RuntimeError at test_rest.py" in caplog.text


async def test_before_warm_up_every_request_is_told_to_come_back() -> None:
    async with client_of(Runtime(Settings())) as client:
        for answer in (
            await client.post("/v1/predict", content=b"x"),
            await client.get("/v1/models"),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] == NotReady.code
            assert int(answer.headers["retry-after"]) >= 1


async def test_a_failing_network_is_a_problem_document() -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise EngineFailure("the network gave logits that are not finite")

    async with client_of(StubRuntime(fail)) as client:
        answer = await client.post("/v1/predict", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (500, "engine_failure")


async def test_work_stops_when_the_caller_hangs_up() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any, **__: Any) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise

    app = create_app(StubRuntime(slow))
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"x", "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "raw_path": b"/v1/predict",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    request = asyncio.create_task(app(scope, messages.get, send))
    await asyncio.wait_for(started.wait(), 5)
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(stopped.wait(), 5)
    await asyncio.wait_for(request, 5)
    assert app.state.admission.requests == 0
    assert app.state.admission.upload_bytes == 0


async def test_the_request_id_of_a_caller_is_kept_only_if_it_is_harmless() -> None:
    async with client_of(Runtime(Settings())) as client:
        for asked, kept in (("abc-123", True), ("a b", False), ("x" * 65, False)):
            answer = await client.get("/v1/models", headers={"x-request-id": asked})
            assert (answer.headers["x-request-id"] == asked) is kept


async def test_a_large_form_upload_never_touches_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def to_disk(_: Any) -> None:
        raise AssertionError("the upload was written to a temporary file")

    async def predict(data: bytes, *_: Any, **__: Any) -> None:
        seen.append(len(data))
        raise EngineFailure("far enough")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", to_disk)
    size = 20 << 20
    async with client_of(StubRuntime(predict)) as client:
        answer = await client.post("/v1/predict", files={"image": ("film.dcm", bytes(size))})
    assert answer.json()["code"] == "engine_failure"
    assert seen == [size]
