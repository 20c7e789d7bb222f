"""Both clients, and a batch, before the service as it is run: BentoML, its own models, a socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import numpy as np
import pytest

from cxrserve.client import AsyncClient, Client
from cxrserve.errors import NotReadableAsChest, UnsupportedUpload
from cxrserve.radiograph.phantom import write_phantom
from tests.acceptance.conftest import Server, kill, start_server
from tests.api.conftest import png
from tests.exposition import total

pytestmark = pytest.mark.server

_CANARY = "Zyxwvut^Canary"
_FILMS = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("service") / "service.log")
    yield running
    kill(running)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A phantom, a black film, a letter."""
    folder = tmp_path_factory.mktemp(_CANARY)
    paths = [folder / f"{_CANARY}-{name}" for name in ("phantom.png", "black.png", "letter.pdf")]
    write_phantom(paths[0])
    paths[1].write_bytes(png(np.zeros((600, 600), np.uint8)))
    paths[2].write_bytes(b"%PDF-1.7")
    return paths


def test_the_service_is_asked_about_films_and_models(service: Server, films: list[Path]) -> None:
    with Client(service.url) as client:
        assert client.ready()
        assert "triage" in [model.name for model in client.models().models]
        assert client.model("triage").card
        answer = client.predict(films[0], deadline_ms=20_000)
        outcomes = {one.index: one for one in client.predict_many(films)}
        picture = client.explain_picture(films[0], "pneumonia")
    assert "phantom" in [remark.code for remark in answer.image.warnings]
    assert outcomes[0].unwrap().results == answer.results
    assert isinstance(outcomes[1].error, NotReadableAsChest)
    assert isinstance(outcomes[2].error, UnsupportedUpload)
    assert picture.startswith(b"\x89PNG")
    assert _CANARY not in service.log.read_text()


async def test_the_service_is_asked_with_asyncio(service: Server, films: list[Path]) -> None:
    async with AsyncClient(service.url) as client:
        assert await client.ready()
        outcomes = [one async for one in client.predict_many(films * 5, concurrency=8)]
        async with aclosing(client.predict_many(films * 5)) as some:
            await anext(some)
    assert sorted(one.index for one in outcomes) == list(range(15))
    assert {one.index % 3 for one in outcomes if one.answer} == {0}


def test_a_batch_is_answered_line_by_line_as_each_would_be_alone(
    service: Server, films: list[Path]
) -> None:
    with service.client() as client:
        files = [("image", (film.name, film.read_bytes())) for film in films]
        reply = client.post("/v1/predict/batch", files=files)
        alone = client.post("/v1/predict", content=films[0].read_bytes()).json()
    assert reply.status_code == 200
    lines = {line["name"]: line for line in map(json.loads, reply.text.splitlines())}
    assert lines.keys() == {film.name for film in films}
    assert lines[films[0].name]["answer"]["results"] == alone["results"]
    assert lines[films[1].name]["problem"]["code"] == "not_readable_as_chest"
    assert lines[films[2].name]["problem"]["code"] == "unsupported_media_type"
    assert _CANARY not in service.log.read_text()


def test_whoever_hangs_up_in_a_batch_leaves_nothing_to_be_computed(
    service: Server, films: list[Path]
) -> None:
    def answered() -> float:
        text = client.get("/metrics").text
        return total(text, "cxrserve_requests_total", outcome="answered")

    with service.client() as client:
        before = answered()
        files = [("image", ("n", films[0].read_bytes()))] * _FILMS
        path = "/v1/predict/batch?model=nih14-densenet121"
        with httpx.stream("POST", f"{service.url}{path}", files=files, timeout=60) as reply:
            assert "answer" in json.loads(next(reply.iter_lines()))
        time.sleep(3)  # all of them would have taken about two
        assert 1 <= answered() - before < _FILMS
