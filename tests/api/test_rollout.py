"""A new version by canary and as a shadow, and back, over the protocols."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from cxrserve.errors import BrokenPackage
from cxrserve.settings import Settings
from cxrserve.v1 import radiology_pb2 as pb
from cxrserve.v1 import radiology_pb2_grpc
from tests.api.conftest import Serving, ServingBoth, png
from tests.exposition import total
from tests.tiny_package import write_tiny_package

_FILMS = 60


def two_versions(models: Path, **changes: Any) -> None:
    write_tiny_package(models / "tiny" / "1.0.0")
    write_tiny_package(models / "tiny" / "1.1.0", version="1.1.0", **changes)


def film(number: int) -> bytes:
    return png(np.full((64, 64), 20 + 3 * number, np.uint8))


async def version_of(client: httpx.AsyncClient, content: bytes, query: str = "") -> str:
    reply = await client.post(f"/v1/predict{query}", content=content)
    assert reply.status_code == 200
    (result,) = reply.json()["results"]
    return str(result["model"]["version"])


async def test_a_canary_answers_its_share_and_the_same_films_everywhere(
    serving_both: ServingBoth, tmp_path: Path
) -> None:
    two_versions(tmp_path / "models")
    films = [film(number) for number in range(_FILMS)]
    async with serving_both(canary="tiny@1.1.0=30%") as service:
        http = service.http
        first = [await version_of(http, one) for one in films]
        again = [await version_of(http, one) for one in films]
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            radiology = radiology_pb2_grpc.RadiologyStub(channel)  # type: ignore[no-untyped-call]
            over_grpc = [
                (await radiology.Predict(pb.PredictRequest(image=one))).results[0].model.version
                for one in films
            ]
        named = [await version_of(http, one, "?model=tiny@1.0.0") for one in films]
        explained = []
        for one in films:
            path = "/v1/explain?label=pneumonia"
            reply = await http.post(path, content=one, headers={"Accept": "application/json"})
            explained.append(reply.json()["model"]["version"])
        text = (await http.get("/metrics")).text
    assert 6 < first.count("1.1.0") < 32
    assert first == again == over_grpc == explained
    assert set(named) == {"1.0.0"}
    assert total(text, "cxrserve_version_share", model="tiny@1.1.0") == pytest.approx(0.3)
    assert total(text, "cxrserve_version_share", model="tiny@1.0.0") == pytest.approx(0.7)
    counted = total(text, "cxrserve_requests_total", model="tiny@1.1.0", protocol="grpc")
    assert counted == over_grpc.count("1.1.0")


async def test_tensors_of_the_open_inference_protocol_meet_the_canary(
    serving: Serving, tmp_path: Path
) -> None:
    two_versions(tmp_path / "models")
    async with serving(canary="tiny@1.1.0=50%") as client:
        versions = []
        for number in range(_FILMS):
            data = np.full((1, 1, 32, 32), number, np.uint8).ravel().tolist()
            tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 32, 32], "data": data}
            reply = await client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
            versions.append(reply.json()["parameters"]["version"])
        path = "/v2/models/tiny/versions/1.0.0/infer"
        pinned = await client.post(path, json={"inputs": [tensor]})
    assert 12 < versions.count("1.1.0") < 48
    assert pinned.json()["parameters"]["version"] == "1.0.0"


@pytest.mark.parametrize(
    ("settings", "answers"),
    [
        ({}, "1.1.0"),
        ({"pinned": "tiny@1.0.0"}, "1.0.0"),
        ({"canary": "tiny@1.1.0=0%"}, "1.0.0"),
        ({"canary": "tiny@1.1.0=100%"}, "1.1.0"),
        ({"shadow": "tiny@1.1.0=100%"}, "1.0.0"),
    ],
)
async def test_a_setting_says_who_answers(
    serving: Serving, tmp_path: Path, settings: dict[str, str], answers: str
) -> None:
    """Back is the same as there: one setting."""
    two_versions(tmp_path / "models")
    async with serving(**settings) as client:
        assert {await version_of(client, film(number)) for number in range(5)} == {answers}


async def test_a_shadow_is_compared_and_never_answers(serving: Serving, tmp_path: Path) -> None:
    """The new version calls no film pneumonia; that is counted, and no answer says so."""
    two_versions(tmp_path / "models", operating_points={"balanced": {"pneumonia": 1.0}})
    async with serving(shadow="tiny@1.1.0=100%", processors=1) as client:
        seen = []
        for number in range(20):
            reply = await client.post("/v1/predict", content=film(number))
            (result,) = reply.json()["results"]
            assert result["model"]["version"] == "1.0.0"
            seen.append(result["findings"][1]["positive"])
            await asyncio.sleep(0.01)
        for _ in range(100):
            text = (await client.get("/metrics")).text
            if total(text, "cxrserve_shadow_total") == 20:
                break
            await asyncio.sleep(0.02)
    names = {"model": "tiny@1.0.0", "candidate": "tiny@1.1.0"}
    count = {
        outcome: total(text, "cxrserve_shadow_total", outcome=outcome, **names)
        for outcome in ("agreed", "differed", "skipped", "failed")
    }
    assert count["failed"] == 0
    assert sum(count.values()) == 20
    assert count["agreed"] + count["differed"] >= 15
    lost = total(text, "cxrserve_shadow_changes_total", label="pneumonia", change="lost", **names)
    assert any(seen)
    assert lost == count["differed"] > 0
    compared = count["agreed"] + count["differed"]
    assert total(text, "cxrserve_shadow_probability_difference_count", **names) == compared
    assert total(text, "cxrserve_requests_total", model="tiny@1.1.0") == 0


async def test_the_same_network_as_a_shadow_always_agrees(serving: Serving, tmp_path: Path) -> None:
    two_versions(tmp_path / "models")
    async with serving(shadow="tiny@1.1.0=100%") as client:
        for number in range(10):
            await version_of(client, film(number))
            await asyncio.sleep(0.01)
        text = (await client.get("/metrics")).text
    assert total(text, "cxrserve_shadow_total", outcome="agreed") >= 5
    assert total(text, "cxrserve_shadow_total", outcome="differed") == 0
    assert total(text, "cxrserve_shadow_probability_difference_bucket", le="0.01") >= 5


async def test_a_shadow_that_fails_harms_nobody(serving: Serving, tmp_path: Path) -> None:
    two_versions(tmp_path / "models")
    async with serving(shadow="tiny@1.1.0=100%") as client:
        runtime = client._transport.app.state.runtime  # type: ignore[attr-defined]
        repository = runtime.predictor.repository
        engine = repository.get("tiny", "1.1.0").engine

        def fails(_pixels: object) -> object:
            raise RuntimeError("of no use")

        engine.run = fails
        for number in range(5):
            assert await version_of(client, film(number)) == "1.0.0"
            await asyncio.sleep(0.01)
        text = (await client.get("/metrics")).text
    assert total(text, "cxrserve_shadow_total", outcome="failed") >= 3


async def test_under_load_shadows_are_skipped_and_answers_are_not(
    serving: Serving, tmp_path: Path
) -> None:
    two_versions(tmp_path / "models")
    async with serving(shadow="tiny@1.1.0=100%", processors=1) as client:
        large = [png(np.full((1200, 1200), shade, np.uint8)) for shade in range(30)]
        versions = await asyncio.gather(*(version_of(client, one) for one in large))
        text = (await client.get("/metrics")).text
    assert set(versions) == {"1.0.0"}
    assert total(text, "cxrserve_requests_total", outcome="answered") == 30
    asked = total(text, "cxrserve_images_total", model="tiny@1.1.0", outcome="answered")
    skipped = total(text, "cxrserve_shadow_total", outcome="skipped")
    assert asked + skipped <= 30
    assert skipped > 0


async def test_a_version_that_is_not_there_is_said_at_the_start(
    serving: Serving, tmp_path: Path
) -> None:
    two_versions(tmp_path / "models")
    with pytest.raises(BrokenPackage, match=r"tiny@2\.0\.0, which a setting names, is not loaded"):
        async with serving(canary="tiny@2.0.0=5%"):
            pass


def test_a_setting_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValidationError, match="must be NAME@VERSION=SHARE%"):
        Settings(canary="tiny")
