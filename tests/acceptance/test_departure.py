"""A replica that is told to end says so first, then refuses, and loses nobody in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.acceptance.bad_uploads import phantom_bytes
from tests.acceptance.conftest import Server, kill, start_server

pytestmark = pytest.mark.server

_DELAY_S = 3.0


@pytest.fixture
def leaving(tmp_path: Path) -> Iterator[Server]:
    """A service that is told to end, and goes on for a while."""
    # Several workers are configured, and there is one: several would split queue and metrics.
    configuration = tmp_path / "bentoml.yaml"
    configuration.write_text("services:\n  cxrserve:\n    workers: 2\n")
    running = start_server(
        tmp_path / "service.log",
        BENTOML_CONFIG=str(configuration),
        CXRSERVE_SHUTDOWN_DELAY_S=str(_DELAY_S),
        CXRSERVE_LOG_FORMAT="json",
    )
    yield running
    kill(running)


def test_it_is_not_ready_and_still_answers_while_balancers_learn_of_it(
    leaving: Server, tmp_path: Path
) -> None:
    film = phantom_bytes(".jpg", tmp_path)
    family = psutil.Process(leaving.process.pid).children(recursive=True)
    workers = [one for one in family if "_bentoml_impl.worker.service" in one.cmdline()]
    assert len(workers) == 1
    with grpc.insecure_channel(leaving.grpc) as channel, leaving.client() as client:
        health = health_pb2_grpc.HealthStub(channel)
        before = client.post("/v1/predict?force=true", content=film)
        assert before.status_code == 200
        assert before.headers.get("connection") != "close"
        began = time.monotonic()
        leaving.process.terminate()
        while client.get("/readyz").status_code == 200:
            assert time.monotonic() < began + 1, "readiness has not heard of it"
            time.sleep(0.02)
        said = health.Check(health_pb2.HealthCheckRequest())
        assert said.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert client.get("/livez").status_code == 200
        during = client.post("/v1/predict?force=true", content=film)
        assert during.status_code == 200
        assert during.headers["connection"] == "close"
        assert during.json()["results"] == before.json()["results"]
    assert leaving.process.wait(30) == 0
    assert time.monotonic() - began > _DELAY_S


def test_who_keeps_asking_is_answered_or_refused_and_never_cut_off(
    leaving: Server, tmp_path: Path
) -> None:
    """A refused connection can go elsewhere; what was taken and reset may have been answered."""
    film = phantom_bytes(".jpg", tmp_path)

    def ask_until_refused(_number: int) -> tuple[int, str]:
        answered = 0
        while True:
            try:
                with httpx.Client(base_url=leaving.url, timeout=30) as client:
                    reply = client.post("/v1/predict?force=true", content=film)
            except httpx.ConnectError:
                return answered, ""
            except httpx.TransportError as error:
                return answered, repr(error)
            if reply.status_code != 200:
                return answered, reply.text
            answered += 1

    with ThreadPoolExecutor(8) as callers:
        asking = [callers.submit(ask_until_refused, number) for number in range(8)]
        time.sleep(1)
        leaving.process.terminate()
        ends = [one.result() for one in asking]
    assert [fault for _, fault in ends if fault] == []
    assert min(answered for answered, _ in ends) > 0
    assert leaving.process.wait(30) == 0
