"""The REST application over tiny packages, in this process."""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from cxrserve.api.grpc.server import GrpcServer
from cxrserve.api.rest import create_app
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings

Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass(frozen=True)
class Service:
    """The service in this process: HTTP without a socket, gRPC with one."""

    runtime: Runtime
    app: FastAPI
    http: httpx.AsyncClient
    grpc_server: GrpcServer
    grpc: str


ServingBoth = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Starts the service on the packages in `tmp_path / "models"`, without the gate."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        chosen = {"gate": "off", "dicom_processes": 1, **settings}
        runtime = Runtime(Settings(models_dir=tmp_path / "models", **chosen))
        await runtime.start()
        try:
            transport = httpx.ASGITransport(create_app(runtime))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client
        finally:
            await runtime.stop()

    return start


@pytest.fixture
def serving_both(tmp_path: Path) -> ServingBoth:
    """As `serving`, with gRPC beside it; not started where `start=False`."""

    @asynccontextmanager
    async def begin(*, start: bool = True, **settings: Any) -> AsyncIterator[Service]:
        chosen = {"gate": "off", "dicom_processes": 1, "host": "127.0.0.1", **settings}
        chosen.setdefault("grpc_port", free_port())
        runtime = Runtime(Settings(models_dir=tmp_path / "models", **chosen))
        app = create_app(runtime)
        state = app.state
        server = GrpcServer(runtime, state.plane, state.admission, state.telemetry)
        port = await server.start()
        try:
            if start:
                await runtime.start()
                await server.ready()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield Service(runtime, app, client, server, f"127.0.0.1:{port}")
        finally:
            await server.stop(0)
            await runtime.stop()

    return begin


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def png(pixels: np.ndarray) -> bytes:
    """A grey PNG of uint8 `[h, w]`."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
