"""Both clients, before the real application on a real socket or before a script of answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from cxrserve.answer import Answer, ImageSeen, Timings
from cxrserve.api.rest import create_app
from cxrserve.client import AsyncClient, Client, Outcome
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from tests.api.conftest import png
from tests.tiny_package import write_tiny_package

Handler = Callable[[httpx.Request], httpx.Response]


class FakeTime:
    """Time that passes only where it is let pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.pauses_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.now_s += seconds


class Either:
    """One of the two clients, asked in one way."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.client, name)

        async def ask(*args: Any, **options: Any) -> Any:
            if isinstance(self.client, AsyncClient):
                return await method(*args, **options)
            return await asyncio.to_thread(method, *args, **options)

        return ask

    async def predict_many(self, files: Any, **options: Any) -> list[Outcome]:
        if isinstance(self.client, AsyncClient):
            return [one async for one in self.client.predict_many(files, **options)]
        ask = self.client.predict_many
        return await asyncio.to_thread(lambda: list(ask(files, **options)))


Asking = Callable[..., Either]


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=[Client, AsyncClient], ids=["blocking", "asyncio"])
async def asking(request: pytest.FixtureRequest, fake_time: FakeTime) -> AsyncIterator[Asking]:
    """Makes the client that is tested: `asking(url)`, or `asking(handler)` under fake time."""
    opened: list[Either] = []

    def make(of: str | Handler, **options: Any) -> Either:
        if not isinstance(of, str):
            options = {**fake(request.param, fake_time, of), **options}
            of = "http://service:3000"
        opened.append(Either(request.param(of, **options)))
        return opened[-1]

    yield make
    for one in opened:
        if isinstance(one.client, Client):
            one.client.close()
        else:
            await one.client.aclose()


def fake(kind: type[Client | AsyncClient], time_: FakeTime, handler: Handler) -> dict[str, Any]:
    """Options of a client that asks `handler`, under fake time."""

    async def sleep(seconds: float) -> None:
        time_.pause(seconds)
        await asyncio.sleep(0)

    def wait(stopped: threading.Event, seconds: float) -> bool:
        time_.pause(seconds)
        return stopped.is_set()

    def fresh(request: httpx.Request) -> httpx.Response:
        # A response belongs to the client that read it.
        given = handler(request)
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)

    return {
        "transport": httpx.MockTransport(fresh),
        "clock": time_.clock,
        "pause": wait if kind is Client else sleep,
        "chance": lambda: 0.0,
    }


@contextmanager
def listening(app: FastAPI, runtime: Runtime | None = None) -> Iterator[str]:
    """The application on a port of its own, in a thread; its address."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_keep_alive=1)
    server = uvicorn.Server(config)

    async def serve() -> None:
        if runtime:
            await runtime.start()
        try:
            await server.serve()
        finally:
            if runtime:
                await runtime.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Starts the service with a tiny network, without the gate; gives its address."""

    def start(**settings: Any) -> AbstractContextManager[str]:
        write_tiny_package(tmp_path / "models" / "tiny")
        chosen = {"gate": "off", "dicom_processes": 1, "cache_dir": None, **settings}
        runtime = Runtime(Settings(models_dir=tmp_path / "models", **chosen))
        return listening(create_app(runtime), runtime)

    return start


def film(brightness: int = 90) -> bytes:
    return png(np.full((40, 48), brightness, np.uint8))


def answer_to(request: httpx.Request, **changes: Any) -> httpx.Response:
    """The smallest answer that there is."""
    answer = Answer(
        id=request.headers["x-request-id"],
        image=ImageSeen(sha256="0" * 64, format="image/png", width=1, height=1),
        results=(),
        timings_ms=Timings(decode=1, queue=1, inference=1, total=3),
    )
    return httpx.Response(200, json=answer.model_dump(mode="json") | changes)


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """A problem document of the service."""
    document = {"status": status, "code": code, "detail": "…", "advice": "…"}
    return httpx.Response(status, json=document, headers=headers)


def busy(retry_after_s: float | str = 1) -> httpx.Response:
    """Refused, with the time to come back."""
    return problem(429, "overloaded", {"Retry-After": str(retry_after_s)})
