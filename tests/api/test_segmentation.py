"""A segmentation model is served as a classifier is, and answers with what it outlines."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.conftest import Serving, png
from tests.radiograph.dicom_files import dicom, encoded
from tests.tiny_package import (
    MASK_SIDE,
    tiny_mask_graph,
    write_tiny_package,
    write_tiny_segmentation,
)

ASK = "/v1/predict?model=lungs-unet"


def chest() -> np.ndarray:
    """Two lungs, 400 × 320: 80 to 160 and 240 to 320 of the columns, 80 to 280 of the rows."""
    pixels = np.zeros((320, 400), np.uint8)
    pixels[80:280, 80:160] = pixels[80:280, 240:320] = 255
    return pixels


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_tiny_package(tmp_path / "models" / "tiny")
    write_tiny_segmentation(tmp_path / "models" / "lungs", input={"side": 32, "fit": "stretch"})
    return tmp_path / "models"


async def only_result(serving: Serving, query: str, image: bytes, **settings: Any) -> Any:
    async with serving(**settings) as client:
        answer = await client.post(query, content=image)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return result


@pytest.mark.usefixtures("models")
async def test_lungs_are_outlined_in_pixels_of_the_image_that_was_sent(serving: Serving) -> None:
    result = await only_result(serving, ASK, png(chest()))
    assert result["findings"] == []
    right, left = result["segmentation"]["segments"]
    assert (right["label"], left["label"]) == ("right_lung", "left_lung")
    for lung, first in ((right, 80), (left, 240)):
        assert lung["area_share"] == pytest.approx(80 * 200 / (320 * 400), rel=0.1)
        assert lung["area_cm2"] is None
        assert lung["mask_png"] is None
        box = lung["box"]
        assert (box["left"], box["width"]) == (
            pytest.approx(first, abs=25),
            pytest.approx(80, abs=30),
        )
        assert (box["top"], box["height"]) == (
            pytest.approx(80, abs=20),
            pytest.approx(200, abs=30),
        )
    (ratio,) = result["segmentation"]["measurements"]
    assert (ratio["name"], ratio["derived"]) == ("cardiothoracic_ratio", True)
    assert ratio["value"] == pytest.approx(80 / 240, abs=0.1)


@pytest.mark.usefixtures("models")
async def test_areas_are_in_square_centimetres_where_the_spacing_is_known(
    serving: Serving,
) -> None:
    image = encoded(dicom(chest(), bits=8, ImagerPixelSpacing=[0.5, 0.25]))
    result = await only_result(serving, ASK, image)
    right, _ = result["segmentation"]["segments"]
    assert right["area_cm2"] == pytest.approx(right["area_share"] * 160.0 * 100.0 / 100, abs=0.1)
    assert right["area_cm2"] == pytest.approx(20, rel=0.1)


@pytest.mark.usefixtures("models")
async def test_the_mask_itself_comes_only_when_asked_for(serving: Serving) -> None:
    result = await only_result(serving, f"{ASK}&explain=true", png(chest()))
    right, _ = result["segmentation"]["segments"]
    mask = Image.open(io.BytesIO(base64.b64decode(right["mask_png"])))
    assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (MASK_SIDE, MASK_SIDE))
    inside = np.asarray(mask) >= 128
    assert inside.mean() == pytest.approx(right["area_share"], abs=1e-4)
    assert not inside[:, MASK_SIDE // 2 :].any()


@pytest.mark.usefixtures("models")
async def test_without_lungs_nothing_is_measured(serving: Serving) -> None:
    one = chest()
    one[:, 200:] = 0
    result = await only_result(serving, ASK, png(one))
    _, left = result["segmentation"]["segments"]
    assert (left["area_share"], left["box"]) == (0, None)
    (ratio,) = result["segmentation"]["measurements"]
    assert ratio["value"] is None
    assert "missing" in ratio["detail"]


@pytest.mark.parametrize("ends", [None, "reach_behind_heart"])
async def test_masks_that_reach_behind_the_heart_give_no_ratio(
    serving: Serving, tmp_path: Path, ends: str | None
) -> None:
    write_tiny_segmentation(tmp_path / "models" / "lungs", lung_masks=ends)
    result = await only_result(serving, ASK, png(chest()))
    (ratio,) = result["segmentation"]["measurements"]
    assert ratio["value"] is None
    assert "heart" in ratio["detail"]


@pytest.mark.usefixtures("models")
async def test_outlines_are_asked_for_by_name_or_by_setting_only(serving: Serving) -> None:
    image = png(chest())
    assert (await only_result(serving, "/v1/predict", image))["model"]["name"] == "tiny"
    async with serving(default_models="lungs-unet,tiny") as client:
        answer = (await client.post("/v1/predict", content=image)).json()
    assert [one["model"]["name"] for one in answer["results"]] == ["lungs-unet", "tiny"]


async def test_with_outlines_only_a_question_without_a_model_is_told_to_name_one(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_segmentation(tmp_path / "models" / "lungs")
    async with serving() as client:
        answer = await client.post("/v1/predict", content=png(chest()))
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
        assert "model=NAME" in answer.json()["advice"]
        assert (await client.post(ASK, content=png(chest()))).status_code == 200


@pytest.mark.usefixtures("models")
async def test_an_operating_point_is_for_the_classifiers_that_are_asked_as_well(
    serving: Serving,
) -> None:
    async with serving() as client:
        answer = await client.post(
            f"{ASK}&model=tiny&operating_point=screening", content=png(chest())
        )
    assert [one["operating_point"] for one in answer.json()["results"]] == [None, "screening"]


async def test_a_broken_mask_leaves_its_package_out_and_the_rest_is_served(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    write_tiny_segmentation(tmp_path / "models" / "lungs", graph=tiny_mask_graph(gain=2.0))
    async with serving() as client:
        (left_out,) = (await client.get("/v1/models")).json()["left_out"]
        assert "0..1" in left_out["reason"]
        assert (await client.post("/v1/predict", content=png(chest()))).status_code == 200
