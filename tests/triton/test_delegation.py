"""The service before a real Triton: the same answers, and answers whatever becomes of it."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from load_tests.peers.triton_server import Triton

from cxrserve.batching.line import Priority
from cxrserve.batching.model_queue import Inference
from cxrserve.engines.engine import Masks, Outputs
from cxrserve.engines.films import films
from cxrserve.engines.load import load_engine
from cxrserve.errors import BrokenPackage, DeadlineExceeded, EngineFailure, EngineUnavailable
from cxrserve.observability.triton_metrics import triton_families
from cxrserve.predictor import Question
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from cxrserve.triton import cluster
from tests.api.conftest import png
from tests.tiny_package import write_tiny_package
from tests.triton import poisonous
from tests.triton.conftest import MODELS_DIR, SERVED, package_of
from tests.triton.faulty import Fault, FaultyProxy, Forwarder, black_hole, faulty_proxy

pytestmark = pytest.mark.server

MODEL = "triage"
_BACK_WITHIN_S = 5.0
_IMAGES = 6


@functools.cache
def _served() -> Path:
    """A folder of the packages that Triton holds too: loading the others takes time."""
    held = tempfile.mkdtemp(prefix="cxrserve-test-")
    atexit.register(shutil.rmtree, held, ignore_errors=True)
    folder = Path(held) / "models"
    folder.mkdir()
    for name in SERVED:
        (folder / name).symlink_to(MODELS_DIR / name)
    return folder


@asynccontextmanager
async def serving(*endpoints: str, **settings: Any) -> AsyncIterator[Runtime]:
    """The service's inside, with Tritons at these addresses, on `SERVED` alone."""
    known: dict[str, Any] = {
        "models_dir": _served(),
        "cache_dir": _served().parent / "cache",
        "gate": "off",
        "processors": 2,
        "triton_endpoints": endpoints,
        "triton_models": (MODEL,),
    }
    runtime = Runtime(Settings(**{**known, **settings}))
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


@pytest.fixture
def proxy(triton: Triton) -> Iterator[tuple[FaultyProxy, str]]:
    with faulty_proxy(triton.grpc) as both:
        yield both


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a batch may take long, which is not what the test is about."""
    monkeypatch.setattr(cluster, "LEAST_PATIENCE_S", 10.0)


def question(model: str = MODEL, deadline_ms: float = 20_000, **more: Any) -> Question:
    return Question(models=(model,), deadline_ms=deadline_ms, **more)


async def ask(
    runtime: Runtime, images: int = _IMAGES, model: str = MODEL, **how: Any
) -> list[Inference]:
    """As many requests as images, at once."""
    side = package_of(model).manifest.input.side
    asked = [
        runtime.predictor.infer(one[None], question(model, **how)) for one in films(images, side)
    ]
    return [one for (one,) in await asyncio.gather(*asked)]


def engines(inferences: list[Inference]) -> set[str]:
    return {one.engine.split("-")[0] for one in inferences}


async def until_triton_answers(runtime: Runtime) -> float:
    """Seconds until Triton is asked again."""
    started = time.monotonic()
    while time.monotonic() - started < 2 * _BACK_WITHIN_S:
        if engines(await ask(runtime, 1)) == {"triton"}:
            return time.monotonic() - started
        await asyncio.sleep(0.05)
    raise AssertionError("Triton was not asked again")


def states(runtime: Runtime) -> dict[str, str]:
    """The circuit's state of each endpoint, as the metrics have it."""
    (family,) = [
        one for one in triton_families(runtime.cluster) if one.name == "cxrserve_triton_circuit"
    ]
    return {s.labels["endpoint"]: s.labels["state"] for s in family.samples if s.value}


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.usefixtures("patient")
async def test_answers_are_those_of_the_engine_here(triton: Triton, name: str) -> None:
    package = package_of(name)
    expected = load_engine(package).run(films(_IMAGES, package.manifest.input.side))
    async with serving(triton.grpc, triton_models=("*",)) as runtime:
        inferences = await ask(runtime, model=name)
    assert engines(inferences) == {"triton"}
    for place, one in enumerate(inferences):
        if isinstance(expected, Masks):
            assert isinstance(one.outputs, Masks)
            np.testing.assert_allclose(one.outputs.mask[0], expected.mask[place], atol=1e-5)
            continue
        assert isinstance(one.outputs, Outputs)
        np.testing.assert_allclose(one.outputs.logits[0], expected.logits[place], atol=1e-5)
        np.testing.assert_allclose(one.outputs.cam[0], expected.cam[place], atol=1e-5)
        np.testing.assert_allclose(one.outputs.bias, expected.bias, atol=1e-5)


@pytest.mark.usefixtures("patient")
async def test_models_that_are_not_delegated_run_here(triton: Triton) -> None:
    async with serving(triton.grpc) as runtime:
        there, here = await asyncio.gather(
            ask(runtime, 2), ask(runtime, 2, model="nih14-densenet121")
        )
    assert engines(there) == {"triton"}
    assert engines(here) == {"onnxruntime"}


@pytest.mark.usefixtures("patient")
async def test_an_answer_names_the_engine_that_made_it(triton: Triton) -> None:
    async with serving(triton.grpc) as runtime:
        answer = await runtime.predictor.predict(
            png(draw_phantom(side=512)), question(), request_id="1"
        )
    assert answer.results[0].model.engine.startswith("triton-")


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.usefixtures("patient")
async def test_every_class_is_answered(triton: Triton, priority: Priority) -> None:
    async with serving(triton.grpc) as runtime:
        assert engines(await ask(runtime, priority=priority)) == {"triton"}


async def test_what_cannot_be_in_time_is_refused_before_triton_is_asked(
    proxy: tuple[FaultyProxy, str],
) -> None:
    spoiler, address = proxy
    async with serving(address) as runtime:
        seen = spoiler.seen
        with pytest.raises(DeadlineExceeded):
            await ask(runtime, 1, deadline_ms=0.5)
        assert spoiler.seen == seen


async def test_stopping_answers_what_triton_is_computing(proxy: tuple[FaultyProxy, str]) -> None:
    spoiler, address = proxy
    spoiler.slow_s = 0.05
    async with serving(address) as runtime:
        spoiler.fault = Fault.SLOW
        asked = asyncio.ensure_future(ask(runtime))
        await asyncio.sleep(0.02)
        await runtime.stop()
        assert len(await asked) == _IMAGES
        spoiler.fault = Fault.NONE


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
async def test_whatever_triton_does_every_request_is_answered_in_time(
    proxy: tuple[FaultyProxy, str], fault: Fault
) -> None:
    spoiler, address = proxy
    async with serving(address) as runtime:
        assert "triton" in engines(await ask(runtime))
        spoiler.fault = fault
        started = time.monotonic()
        spoilt = await ask(runtime, deadline_ms=2_000)
        assert time.monotonic() - started < 2
        assert engines(spoilt) == {"onnxruntime"}
        for _ in range(3):
            assert engines(await ask(runtime, 2, deadline_ms=2_000)) == {"onnxruntime"}
        assert states(runtime)[address] != "closed"
        spoiler.fault = Fault.NONE
        assert await until_triton_answers(runtime) < _BACK_WITHIN_S
        assert states(runtime)[address] == "closed"


@pytest.mark.usefixtures("patient")
async def test_a_triton_that_is_a_little_slow_is_waited_for(
    proxy: tuple[FaultyProxy, str],
) -> None:
    spoiler, address = proxy
    async with serving(address) as runtime:
        spoiler.fault, spoiler.slow_s = Fault.SLOW, 0.04
        assert engines(await ask(runtime)) == {"triton"}


async def test_it_starts_without_triton_and_asks_it_when_it_comes(triton: Triton) -> None:
    wire = Forwarder(triton.grpc)
    wire.black.set()
    try:
        async with serving(wire.address) as runtime:
            assert engines(await ask(runtime, deadline_ms=2_000)) == {"onnxruntime"}
            assert states(runtime)[wire.address] != "closed"
            wire.black.clear()
            assert await until_triton_answers(runtime) < _BACK_WITHIN_S
    finally:
        wire.close()


@pytest.mark.usefixtures("patient")
async def test_another_triton_answers_for_one_that_fails(
    proxy: tuple[FaultyProxy, str], triton: Triton
) -> None:
    spoiler, address = proxy
    async with serving(address, triton.grpc, triton_fallback="off") as runtime:
        spoiler.fault = Fault.UNAVAILABLE
        for _ in range(3):
            assert engines(await ask(runtime)) == {"triton"}
        assert states(runtime) == {address: "open", triton.grpc: "closed"} or (
            states(runtime)[address] == "half_open"
        )


async def test_a_slow_batch_is_asked_for_at_another_triton_too(
    proxy: tuple[FaultyProxy, str], triton: Triton
) -> None:
    spoiler, address = proxy
    async with serving(address, triton.grpc) as runtime:
        spoiler.fault, spoiler.slow_s = Fault.SLOW, 1.5
        started = time.monotonic()
        assert engines(await ask(runtime, 2)) == {"triton"}
        assert time.monotonic() - started < 1.4
        assert runtime.cluster is not None
        assert runtime.cluster.hedged >= 1


async def test_who_goes_calls_off_what_triton_computes_for_him(
    proxy: tuple[FaultyProxy, str],
) -> None:
    spoiler, address = proxy
    spoiler.version = "2.60.0"
    async with serving(address, triton_fallback="off") as runtime:
        spoiler.fault = Fault.HANGING
        asked = asyncio.ensure_future(ask(runtime, 1))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        for _ in range(100):
            if spoiler.cancelled:
                break
            await asyncio.sleep(0.02)
        assert spoiler.cancelled == 1
        spoiler.fault = Fault.NONE


async def test_a_triton_that_crashes_of_cancelling_is_not_told(
    proxy: tuple[FaultyProxy, str],
) -> None:
    spoiler, address = proxy
    async with serving(address) as runtime:
        spoiler.fault, spoiler.slow_s = Fault.SLOW, 0.5
        asked = asyncio.ensure_future(ask(runtime, 1))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.sleep(0.6)
        assert spoiler.seen
        assert not spoiler.cancelled


async def test_without_a_stand_in_it_says_that_triton_is_out_of_reach_and_goes_on_later(
    proxy: tuple[FaultyProxy, str],
) -> None:
    spoiler, address = proxy
    async with serving(address, triton_fallback="off") as runtime:
        spoiler.fault = Fault.UNAVAILABLE
        with pytest.raises(EngineUnavailable):
            await ask(runtime, 1)
        with pytest.raises(EngineUnavailable, match="out of reach"):
            await ask(runtime, 1)
        spoiler.fault = Fault.NONE
        await asyncio.sleep(1.5)
        assert engines(await ask(runtime, 1)) == {"triton"}


async def test_without_a_stand_in_it_does_not_start_where_no_triton_answers() -> None:
    with black_hole() as nobody, pytest.raises(BrokenPackage, match="no model could be loaded"):
        async with serving(nobody, triton_fallback="off", triton_models=("*",)):
            pass


async def test_a_model_of_another_digest_is_refused(
    triton: Triton, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_package(tmp_path / MODEL, name=MODEL)
    async with serving(triton.grpc, models_dir=tmp_path) as runtime:
        pixels = films(1, 32)
        ((one),) = await runtime.predictor.infer(pixels, question())
    assert engines([one]) == {"onnxruntime"}
    assert re.search(r"its digest there is sha256:\w+, the package's is sha256:\w+", caplog.text)


async def test_a_model_that_triton_does_not_hold_runs_here(
    triton: Triton, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_package(tmp_path / "tiny", name="tiny")
    async with serving(triton.grpc, models_dir=tmp_path, triton_models=("*",)) as runtime:
        (one,) = await runtime.predictor.infer(films(1, 32), question("tiny"))
        await asyncio.sleep(1.2)
        assert states(runtime) == {triton.grpc: "closed"}
    assert engines([one]) == {"onnxruntime"}
    assert caplog.text.count("tiny is not asked at Triton") == 1


@pytest.mark.parametrize("fallback", ["on", "off"])
@pytest.mark.parametrize("poison", ["fails", "spoils"])
async def test_an_image_that_no_engine_can_run_fails_alone(
    triton: Triton, poisonous_models: Path, poison: str, fallback: str
) -> None:
    images = [poisonous.image() for _ in range(8)]
    images[5] = poisonous.image(**{poison: True})
    async with serving(
        triton.grpc, models_dir=poisonous_models, triton_models=("*",), triton_fallback=fallback
    ) as runtime:
        given = await asyncio.gather(
            *(runtime.predictor.infer(one, question("poisonous")) for one in images),
            return_exceptions=True,
        )
    assert [place for place, one in enumerate(given) if isinstance(one, EngineFailure)] == [5]
    assert sum(isinstance(one, list) for one in given) == 7


@pytest.mark.usefixtures("patient")
async def test_triton_is_asked_over_tls(triton: Triton, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    with faulty_proxy(triton.grpc, credentials) as (_, address):
        async with serving(address, triton_ca=chain) as runtime:
            assert engines(await ask(runtime, 2)) == {"triton"}


@pytest.mark.usefixtures("patient")
async def test_pixels_are_laid_into_shared_memory_and_nothing_of_them_is_left(
    triton: Triton,
) -> None:
    def regions() -> set[str]:
        return {one.name for one in Path("/dev/shm").glob(f"cxrserve-{os.getpid()}-*")}

    expected = load_engine(package_of(MODEL)).run(
        films(_IMAGES, package_of(MODEL).manifest.input.side)
    )
    async with serving(triton.grpc, triton_same_node="on") as runtime:
        assert regions()
        inferences = await ask(runtime)
        assert engines(inferences) == {"triton"}
    assert isinstance(expected, Outputs)
    for place, one in enumerate(inferences):
        assert isinstance(one.outputs, Outputs)
        np.testing.assert_allclose(one.outputs.logits[0], expected.logits[place], atol=1e-5)
    assert regions() == set()
