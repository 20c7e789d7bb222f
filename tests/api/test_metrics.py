"""What replicas are scaled by can be read at /metrics, and means what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Serving, png
from tests.tiny_package import write_tiny_package


async def values(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels in ({}, {"model": "tiny@1.0.0"})
    }


async def test_what_is_scaled_by_follows_the_load(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    film = png(np.full((2000, 2000), 90, np.uint8))
    async with serving(processors=1, default_deadline_ms=7_000) as client:
        quiet = await values(client)
        asked = [asyncio.ensure_future(client.post("/v1/predict", content=film)) for _ in range(60)]
        waits = []
        while not all(one.done() for one in asked):
            waits.append((await values(client))["cxrserve_expected_wait_seconds"])
            await asyncio.sleep(0.005)
        assert {one.result().status_code for one in asked} == {200}
        after = await values(client)
    assert quiet["cxrserve_processors"] == 1
    assert quiet["cxrserve_slo_seconds"] == 7
    assert quiet["cxrserve_expected_wait_seconds"] < 0.05
    assert max(waits) > 5 * quiet["cxrserve_expected_wait_seconds"]
    assert max(waits) > 0.05
    assert after["cxrserve_expected_wait_seconds"] < max(waits) / 2
    assert after["cxrserve_busy_seconds_total"] > quiet["cxrserve_busy_seconds_total"] + 0.1
