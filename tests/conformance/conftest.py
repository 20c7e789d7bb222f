"""Servers to ask: a real Triton, and little ones."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from load_tests.peers.triton_server import NOT_INSTALLED, Triton, is_installed, running_triton

from tests.conformance.little_http import LittleServer

MODELS = ("simple", "simple_identity")
_HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def triton_with_simple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A real Triton with the models `simple` and `simple_identity`.

    For another test module: `from tests.conformance.conftest import triton_with_simple`.
    """
    if not is_installed():
        pytest.skip(NOT_INSTALLED)
    models = tmp_path_factory.mktemp("models")
    for model in MODELS:
        shutil.copytree(_HERE / model, models / model)
    with running_triton(models, tmp_path_factory.mktemp("triton")) as triton:
        yield triton


@contextmanager
def running_app(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of 127.0.0.1; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def little_server() -> Iterator[Callable[[str], str]]:
    """Starts a `LittleServer` with a fault, "" for none; gives its URL."""
    with ExitStack() as running:
        yield lambda fault: running.enter_context(running_app(LittleServer(fault).app))
