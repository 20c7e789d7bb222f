"""`POST /v1/render`: what a person sees is what the network reads, through any window."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrserve.api.render import DESCRIPTION, VALUES
from tests.api.conftest import Serving, png
from tests.radiograph.dicom_files import dicom, encoded, lut, ramp, read
from tests.tiny_package import write_tiny_package


@pytest.fixture(autouse=True)
def _network(tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")


async def _render(client: httpx.AsyncClient, data: bytes, **query: Any) -> NDArray[np.uint8]:
    reply = await client.post("/v1/render", content=data, params=query)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["cache-control"] == "no-store"
    return np.asarray(Image.open(io.BytesIO(reply.content)))


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1500, "WindowWidth": 900},
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 400, "WindowWidth": 700, "RescaleSlope": 2, "RescaleIntercept": -3000},
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2000, "WindowWidth": 4000},
        {"VOILUTSequence": [lut(list(range(0, 65536, 16)))]},
        {"PixelPaddingValue": 0},
        {},
    ],
    ids=["window", "sigmoid", "exact", "rescaled", "monochrome1", "voi-lut", "padding", "none"],
)
async def test_a_film_is_shown_as_the_networks_read_it(
    serving: Serving, elements: dict[str, Any]
) -> None:
    dataset = dicom(ramp(), **elements)
    async with serving() as client:
        shown = await _render(client, encoded(dataset))
    expected = read(dataset).pixels
    assert shown.shape == expected.shape
    difference = np.abs(shown.astype(int) - expected)
    if "PixelPaddingValue" in elements:
        difference = difference[4:, 4:]
    assert difference.max() <= 1


async def test_a_window_can_be_chosen(serving: Serving) -> None:
    data = encoded(dicom(ramp(), WindowCenter=2048, WindowWidth=4096))
    async with serving() as client:
        narrow = await _render(client, data, center=2000, width=200)
        own = await _render(client, data)
    expected = read(dicom(ramp(), WindowCenter=2000, WindowWidth=200)).pixels
    assert np.abs(narrow.astype(int) - expected).max() <= 2
    assert len(np.unique(narrow)) < len(np.unique(own))


async def test_values_travel_once_and_are_windowed_where_they_are_shown(serving: Serving) -> None:
    values = ramp(rows=300, columns=400)
    data = encoded(dicom(values, WindowCenter=1000, WindowWidth=2000))
    async with serving() as client:
        reply = await client.post("/v1/render?side=400", content=data, headers={"Accept": VALUES})
    told = json.loads(reply.headers[DESCRIPTION])
    sent = np.frombuffer(reply.content, "<u2").reshape(told["rows"], told["columns"])
    assert (told["centre"], told["window"], told["function"]) == (1000, 2000, "LINEAR")
    assert (told["width"], told["height"], told["inverted"]) == (400, 300, False)
    found = told["low"] + sent * ((told["high"] - told["low"]) / 65535)
    assert np.abs(found - values).max() < 0.5


async def test_no_side_is_longer_than_was_asked_for(serving: Serving) -> None:
    async with serving() as client:
        dicom_shown = await _render(client, encoded(dicom(ramp(rows=300, columns=400))), side=128)
        png_shown = await _render(client, png(np.full((200, 100), 80, np.uint8)), side=64)
    assert dicom_shown.shape == (96, 128)
    assert png_shown.shape == (64, 32)
    assert (png_shown == 80).all()


@pytest.mark.parametrize(
    ("data", "query", "accept", "status", "code"),
    [
        (b"", {}, "*/*", 400, "empty_upload"),
        (b"%PDF-1.7 letter", {}, "*/*", 415, "unsupported_media_type"),
        (encoded(dicom(ramp()))[:-900], {}, "*/*", 422, "unreadable_image"),
        (encoded(dicom(ramp())), {}, "text/html", 406, "not_acceptable"),
        (encoded(dicom(ramp())), {"width": 0}, "*/*", 400, "unknown_option"),
        (encoded(dicom(ramp())), {"side": 9999}, "*/*", 400, "unknown_option"),
    ],
)
async def test_what_cannot_be_shown_is_refused_as_elsewhere(
    serving: Serving, data: bytes, query: dict[str, Any], accept: str, status: int, code: str
) -> None:
    async with serving() as client:
        reply = await client.post(
            "/v1/render", content=data, params=query, headers={"Accept": accept}
        )
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_a_film_over_the_limits_is_refused(serving: Serving) -> None:
    async with serving(max_pixels=1000) as client:
        reply = await client.post("/v1/render", content=encoded(dicom(ramp())))
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
