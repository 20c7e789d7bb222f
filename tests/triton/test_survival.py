"""The real service under load while its real Triton is killed, hangs, or vanishes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from load_tests.peers.triton_server import Triton, running_triton

from cxrserve.radiograph.phantom import draw_phantom
from tests.acceptance.conftest import Server, kill, start_server
from tests.api.conftest import png
from tests.triton.faulty import Forwarder

pytestmark = pytest.mark.server

MODEL = "nih14-densenet121"
LOAD = 0.8
DEADLINE_MS = 4_000
BACK_WITHIN_S = 5.0
# The answer must also be carried back; what it was computed in is what the deadline is about.
_CARRIED_S = 0.25
_BEFORE_S, _AWAY_S = 2.0, 4.0
_CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: its status, the engine that answered, the seconds it took."""

    status: int
    engine: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Stand:
    """A service before a Triton, with a port between them that can be made a black hole."""

    service: Server
    triton: Triton
    wire: Forwarder


@pytest.fixture(scope="module")
def stand(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("survival")
    with running_triton(repository, folder) as triton:
        wire = Forwarder(triton.grpc)
        service = start_server(
            folder / "service.log",
            CXRSERVE_TRITON_ENDPOINTS=wire.address,
            CXRSERVE_TRITON_MODELS=MODEL,
            CXRSERVE_DEFAULT_MODELS=MODEL,
            CXRSERVE_GATE="off",
        )
        yield Stand(service, triton, wire)
        kill(service)
        wire.close()


@pytest.fixture(scope="module")
def film() -> bytes:
    return png(draw_phantom(side=512))


async def ask(client: httpx.AsyncClient, film: bytes) -> Answered:
    started = time.monotonic()
    response = await client.post("/v1/predict", params={"deadline_ms": DEADLINE_MS}, content=film)
    took_s = time.monotonic() - started
    engine = ""
    if response.status_code == 200:
        engine = response.json()["results"][0]["model"]["engine"]
    return Answered(response.status_code, engine, took_s)


async def capacity(client: httpx.AsyncClient, film: bytes, seconds: float) -> float:
    """Answers a second to a few clients that wait for theirs."""
    end, count = time.monotonic() + seconds, 0

    async def one() -> None:
        nonlocal count
        while time.monotonic() < end:
            assert (await ask(client, film)).status == 200
            count += 1

    await asyncio.gather(*(one() for _ in range(_CLIENTS)))
    return count / seconds


def is_asked(service: Server) -> bool:
    """Whether the metrics say that Triton's circuit is closed."""
    text = httpx.get(f"{service.url}/metrics").text
    value = re.search(r'cxrserve_triton_circuit\{endpoint="[^"]+",state="closed"\} (\S+)', text)
    assert value is not None, "the metrics do not tell the circuit's state"
    return float(value[1]) == 1


def until_asked(service: Server, limit_s: float) -> float:
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        if is_asked(service):
            return time.monotonic() - started
        time.sleep(0.1)
    raise AssertionError(f"Triton's circuit was not closed again within {limit_s} s")


Act = Callable[[Stand], None]


@pytest.mark.parametrize(
    ("away", "back"),
    [
        pytest.param(lambda one: one.triton.kill(), lambda one: one.triton.start(), id="kill -9"),
        pytest.param(
            lambda one: one.triton.suspend(), lambda one: one.triton.resume(), id="SIGSTOP"
        ),
        pytest.param(
            lambda one: one.wire.black.set(), lambda one: one.wire.black.clear(), id="black hole"
        ),
    ],
)
async def test_no_request_fails_or_is_late_when_triton_goes(
    stand: Stand, film: bytes, away: Act, back: Act
) -> None:
    await asyncio.to_thread(until_asked, stand.service, 2 * BACK_WITHIN_S)
    async with httpx.AsyncClient(base_url=stand.service.url, timeout=30) as client:
        await capacity(client, film, 1.0)
        rate = LOAD * await capacity(client, film, 3.0)
        start = time.monotonic()
        asked: list[asyncio.Task[Answered]] = []
        gone = False
        for place in range(round((_BEFORE_S + _AWAY_S) * rate)):
            due = start + place / rate
            await asyncio.sleep(due - time.monotonic())
            if not gone and due - start > _BEFORE_S:
                gone = True
                await asyncio.to_thread(away, stand)
            asked.append(asyncio.ensure_future(ask(client, film)))
        answered = await asyncio.gather(*asked)
        assert not is_asked(stand.service)
        await asyncio.to_thread(back, stand)
        took_s = await asyncio.to_thread(until_asked, stand.service, BACK_WITHIN_S)
        again = await ask(client, film)
    late = [one for one in answered if one.took_s > DEADLINE_MS / 1e3 + _CARRIED_S]
    assert [one for one in answered if one.status != 200] == []
    assert late == []
    engines = [one.engine.split("-")[0] for one in answered]
    assert engines[0] == "triton"
    assert engines[-1] == "onnxruntime"
    assert again.engine.startswith("triton-")
    print(
        f"{len(answered)} requests at {rate:.1f}/s, slowest "
        f"{max(one.took_s for one in answered) * 1e3:.0f} ms, "
        f"{engines.count('onnxruntime')} answered here, asked again after {took_s:.1f} s"
    )
