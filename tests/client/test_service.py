"""Both clients before the real application, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cxrserve.api.rest import create_app
from cxrserve.client import ONCE, AsyncClient, Client, Retries, Unreachable, UnreadableFile
from cxrserve.errors import (
    LabelNotFound,
    ModelNotFound,
    NotReadableAsChest,
    NotReady,
    Overloaded,
    UnknownOption,
    UnreadableImage,
    UnsupportedUpload,
    UploadTooLarge,
)
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from tests.api.conftest import png
from tests.api.test_rest import StubRuntime
from tests.client.conftest import Asking, Serving, film, listening
from tests.tiny_package import write_tiny_package


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Ten files, the fourth of which is no image."""
    made = []
    for number in range(10):
        made.append(tmp_path / f"film-{number}.png")
        made[-1].write_bytes(b"%PDF-1.7" if number == 3 else film(20 * number))
    return made


async def test_an_image_is_answered_from_memory_disk_or_an_open_file(
    serving: Serving, asking: Asking, files: list[Path]
) -> None:
    with serving() as url, files[5].open("rb") as opened:
        client = asking(url)
        sources = (film(100), files[5], str(files[5]), opened)
        answers = [await client.predict(source) for source in sources]
    assert len({answer.image.sha256 for answer in answers}) == 1
    assert [finding.label for finding in answers[0].results[0].findings] == ["normal", "pneumonia"]


async def test_the_answer_is_what_the_service_says(serving: Serving, asking: Asking) -> None:
    with serving() as url:
        answer = await asking(url).predict(film(), request_id="mine:1", explain=True)
        async with httpx.AsyncClient() as plain:
            reply = await plain.post(f"{url}/v1/predict?explain=true", content=film())
        raw = reply.json()
    assert answer.id == "mine:1"
    assert answer.model_dump(mode="json")["results"] == raw["results"]
    assert answer.model_dump(mode="json")["image"] == raw["image"]
    assert answer.notice == raw["notice"]


async def test_every_option_reaches_the_service(
    serving: Serving, asking: Asking, tmp_path: Path
) -> None:
    with serving() as url:
        client = asking(url)
        both = await client.predict(
            film(),
            models=["tiny", "tiny@1.0.0"],
            priority="stat",
            deadline_ms=10_000,
            operating_point="screening",
            explain=True,
            force=True,
            augment="mirror",
        )
        one = await client.predict(film(), models="tiny")
        with pytest.raises(UnknownOption, match="soon"):
            await client.predict(film(), priority="soon")
        with pytest.raises(UnknownOption, match="unlikely"):
            await client.predict(film(), operating_point="unlikely")
    assert both.results[0].operating_point == "screening"
    assert both.results[0].augment == "mirror"
    assert both.results[0].findings[0].heat_map is not None
    assert one.results[0].operating_point == "balanced"
    assert one.results[0].augment is None
    assert one.results[0].findings[0].heat_map is None


async def test_refusals_are_the_errors_of_the_service(serving: Serving, asking: Asking) -> None:
    with serving(max_upload_mb=0.01) as url:
        client = asking(url)
        with pytest.raises(UnsupportedUpload) as unsupported:
            await client.predict(b"%PDF-1.7")
        with pytest.raises(UnreadableImage) as unreadable:
            await client.predict(film()[:60])
        with pytest.raises(UploadTooLarge) as large:
            await client.predict(bytes(200_000))
        with pytest.raises(ModelNotFound):
            await client.predict(film(), models="nobody")
        with pytest.raises(LabelNotFound) as label:
            await client.explain(film(), "gout")
        with pytest.raises(ModelNotFound):
            await client.model("tiny?x")
    assert unsupported.value.facts["status"] == 415
    assert unsupported.value.advice
    assert unreadable.value.reason == "truncated"
    assert large.value.facts["limit_bytes"] > 0
    assert label.value.facts["labels"] == ["normal", "pneumonia"]


async def test_the_reasons_of_the_gate_come_along(
    serving: Serving, asking: Asking, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    (tmp_path / "models" / "gate").symlink_to(Path(__file__).parents[2] / "models" / "gate")
    black = png(np.zeros((400, 400), np.uint8))
    with serving(gate="on") as url:
        with pytest.raises(NotReadableAsChest) as refused:
            await asking(url).predict(black)
        forced = await asking(url).predict(black, force=True)
    assert refused.value.reasons
    assert set(refused.value.reasons) <= {remark.code for remark in forced.image.reasons}


async def test_a_finding_is_explained_in_figures_and_as_a_picture(
    serving: Serving, asking: Asking
) -> None:
    with serving() as url:
        client = asking(url)
        figures = await client.explain(
            film(), "pneumonia", model="tiny", operating_point="screening"
        )
        picture = await client.explain_picture(film(), "pneumonia")
    assert (figures.label, figures.operating_point) == ("pneumonia", "screening")
    assert np.mean(figures.grid) + figures.bias == pytest.approx(figures.logit, abs=1e-3)
    assert Image.open(io.BytesIO(picture)).format == "PNG"


async def test_models_are_listed_and_described(serving: Serving, asking: Asking) -> None:
    with serving() as url:
        client = asking(url)
        listed = await client.models()
        one = await client.model("tiny", "1.0.0")
    assert [model.name for model in listed.models] == ["tiny"]
    assert one.manifest.name == "tiny"
    assert one.digest == listed.models[0].digest
    assert one.latency.sizes


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_of_many_files_each_gets_its_own_answer_and_a_bad_one_fails_alone(
    serving: Serving, asking: Asking, files: list[Path], concurrency: int
) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving() as url:
        client = asking(url)
        outcomes = await client.predict_many(
            files, concurrency=concurrency, progress=lambda *now: seen.append(now)
        )
        alone = {n: await client.predict(file) for n, file in enumerate(files) if n != 3}
    assert sorted(outcome.index for outcome in outcomes) == list(range(10))
    assert seen == [(done, 10) for done in range(1, 11)]
    for outcome in outcomes:
        assert outcome.name == f"film-{outcome.index}.png"
        if outcome.index == 3:
            assert isinstance(outcome.error, UnsupportedUpload)
            with pytest.raises(UnsupportedUpload):
                outcome.unwrap()
        else:
            assert outcome.error is None
            assert outcome.unwrap().image.sha256 == alone[outcome.index].image.sha256
            assert outcome.unwrap().results == alone[outcome.index].results


async def test_files_are_called_what_they_were_given_as(serving: Serving, asking: Asking) -> None:
    with serving() as url:
        outcomes = await asking(url).predict_many(iter([("first", film(1)), film(2)]))
    assert {outcome.index: outcome.name for outcome in outcomes} == {0: "first", 1: ""}


async def test_a_file_that_is_not_there_fails_alone(
    serving: Serving, asking: Asking, files: list[Path], tmp_path: Path
) -> None:
    with serving() as url:
        outcomes = await asking(url).predict_many([tmp_path / "gone", tmp_path, files[0]])
    by_index = {outcome.index: outcome for outcome in outcomes}
    assert isinstance(by_index[0].error, UnreadableFile)
    assert isinstance(by_index[1].error, UnreadableFile)
    assert by_index[2].answer is not None


async def test_one_path_in_the_place_of_many_is_a_mistake(asking: Asking) -> None:
    with pytest.raises(TypeError, match="several"):
        await asking("http://localhost").predict_many("film.png")


class Films:
    """Films without end; counts those that were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.taken += 1
            yield b"quick"


async def refuse(*_: Any, **__: Any) -> None:
    raise UnsupportedUpload("far enough")


def test_files_are_taken_no_sooner_than_they_are_sent() -> None:
    films = Films()
    with listening(create_app(StubRuntime(refuse))) as url, Client(url) as client:
        outcomes = client.predict_many(films, concurrency=3)
        for _ in range(10):
            next(outcomes)
        outcomes.close()
    assert 10 <= films.taken <= 10 + 3 + 3


async def test_files_are_taken_no_sooner_than_they_are_sent_with_asyncio() -> None:
    films = Films()
    with listening(create_app(StubRuntime(refuse))) as url:
        client = AsyncClient(url)
        outcomes = client.predict_many(films, concurrency=3)
        async with client, contextlib.aclosing(outcomes):
            for _ in range(10):
                await anext(outcomes)
    assert 10 <= films.taken <= 10 + 3 + 3


async def test_who_stops_listening_ends_what_is_on_its_way() -> None:
    """Closing the generator hangs up, and the service stops computing."""
    inside, stopped = threading.Semaphore(0), threading.Semaphore(0)

    async def work(data: bytes, *_: Any, **__: Any) -> None:
        if data == b"quick":
            raise UnsupportedUpload("far enough")
        inside.release()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.release()
            raise

    with listening(create_app(StubRuntime(work))) as url:
        async with AsyncClient(url) as client:
            files = [b"slow", b"slow", b"quick"]
            async with contextlib.aclosing(client.predict_many(files)) as outcomes:
                async for outcome in outcomes:
                    assert outcome.index == 2
                    await asyncio.to_thread(inside.acquire)
                    await asyncio.to_thread(inside.acquire)
                    break
        for _ in range(2):
            assert await asyncio.to_thread(stopped.acquire, timeout=5)


def test_who_stops_listening_waits_for_no_pause() -> None:
    busy = Overloaded("full", retry_after_s=30)

    async def work(data: bytes, *_: Any, **__: Any) -> None:
        raise UnsupportedUpload("far enough") if data == b"quick" else busy

    with listening(create_app(StubRuntime(work))) as url, Client(url) as client:
        started = time.monotonic()
        outcomes = client.predict_many([b"quick", b"slow", b"slow"])
        assert next(outcomes).index == 0
        outcomes.close()
        assert time.monotonic() - started < 10


async def test_an_overload_is_waited_out(asking: Asking) -> None:
    """The service says one second; real time passes here."""
    seen: list[str] = []

    async def work(*_: Any, request_id: str, **__: Any) -> None:
        seen.append(request_id)
        if len(seen) == 1:
            raise Overloaded("full", retry_after_s=0.2)
        raise UnsupportedUpload("far enough")

    with listening(create_app(StubRuntime(work))) as url:
        started = time.monotonic()
        with pytest.raises(UnsupportedUpload):
            await asking(url).predict(b"x")
        took_s = time.monotonic() - started
    assert took_s >= 1
    assert len(seen) == 2
    assert len(set(seen)) == 1


async def test_who_cannot_be_reached_is_tried_again_and_is_not_ready(asking: Asking) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = asking(f"http://127.0.0.1:{port}", retries=Retries(total_s=0.5))
    with pytest.raises(Unreachable) as raised:
        await client.predict(film())
    assert raised.value.facts["attempts"] > 1
    assert not await client.ready()


async def test_a_service_that_is_starting_says_so(asking: Asking) -> None:
    with listening(create_app(Runtime(Settings()))) as url, pytest.raises(NotReady):
        await asking(url, retries=ONCE).models()


async def test_a_service_that_hangs_is_given_up_after_the_deadline(asking: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = asking(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(Exception, match="within 300 ms"):
            await client.predict(film(), deadline_ms=300)
    assert 0.3 <= time.monotonic() - started < 4
