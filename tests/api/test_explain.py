"""`/v1/explain`, boxes and the mirror option: where a finding comes from, in the image sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrserve.api.accept import chosen_type
from cxrserve.errors import NotAcceptable
from tests.api.conftest import Serving, png
from tests.tiny_package import (
    tiny_graph,
    tiny_mask_graph,
    write_tiny_package,
    write_tiny_segmentation,
)

JSON = {"accept": "application/json"}


def spot(*, left: int, top: int, value: int = 255) -> np.ndarray:
    """400 × 320 with one bright square of 100 × 80, a cell of the tiny network's map."""
    pixels = np.zeros((320, 400), np.uint8)
    pixels[top : top + 80, left : left + 100] = value
    return pixels


def sigmoid_package(folder: Path, label: str = "pneumonia", **changes: Any) -> Path:
    """Answers any label positive whose map is bright anywhere."""
    return write_tiny_package(
        folder,
        task="multi-label",
        activation="sigmoid",
        labels=[{"name": "normal", "finding": False}, {"name": label}],
        operating_points={"balanced": {label: 0.5, "normal": 0.5}},
        **changes,
    )


async def post(
    serving: Serving, path: str, pixels: np.ndarray, headers: dict[str, str] | None = None
) -> Any:
    async with serving() as client:
        return await client.post(path, content=png(pixels), headers=headers)


async def test_the_default_answer_is_a_picture_of_the_radiograph(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    answer = await post(serving, "/v1/explain?label=pneumonia", spot(left=100, top=80))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert "accept" in answer.headers["vary"].lower()
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.info) == ("PNG", {})
    assert picture.width > 480
    assert picture.height > 384


async def test_as_json_the_map_explains_the_logit(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny", bias=0.25)
    path = "/v1/explain?label=pneumonia&operating_point=screening"
    answer = await post(serving, path, spot(left=200, top=160), JSON)
    assert answer.headers["content-type"] == "application/json"
    given = answer.json()
    assert (given["label"], given["model"]["name"]) == ("pneumonia", "tiny")
    assert (given["operating_point"], given["threshold"]) == ("screening", 0.1)
    assert (given["height"], given["width"]) == np.shape(given["grid"]) == (4, 4)
    assert np.mean(given["grid"]) + given["bias"] == pytest.approx(given["logit"], abs=1e-4)
    assert given["probability"] == pytest.approx(1 / (1 + np.exp(-2 * given["logit"])), abs=1e-4)
    assert given["positive"] is True
    (box,) = given["boxes"]
    assert box["left"] <= 250 <= box["left"] + box["width"]
    assert box["top"] <= 200 <= box["top"] + box["height"]
    assert "Research use only" in given["notice"]


async def test_a_label_that_no_model_has_is_answered_with_those_it_has(
    serving: Serving, tmp_path: Path
) -> None:
    labels = [{"name": "normal"}, {"name": "pneumonia", "trained": False}]
    write_tiny_package(tmp_path / "models" / "tiny")
    write_tiny_package(tmp_path / "models" / "half", name="half", labels=labels)
    write_tiny_segmentation(tmp_path / "models" / "lungs")
    pixels = spot(left=0, top=0)
    async with serving() as client:
        for query in ("label=x", "label=pneumonia&model=half", "label=left_lung&model=lungs-unet"):
            answer = await client.post(f"/v1/explain?{query}", content=png(pixels))
            assert (answer.status_code, answer.json()["code"]) == (404, "label_not_found"), query
        known = (await client.post("/v1/explain?label=x", content=png(pixels))).json()
        assert known["labels"] == ["normal", "pneumonia"]
        first = await client.post("/v1/explain?label=pneumonia", content=png(pixels), headers=JSON)
        assert first.json()["model"]["name"] == "tiny"
        missing = await client.post("/v1/explain", content=png(pixels))
        assert (missing.status_code, missing.json()["code"]) == (400, "unknown_option")
        nobody = await client.post("/v1/explain?label=normal&model=nobody", content=png(pixels))
        assert (nobody.status_code, nobody.json()["code"]) == (404, "model_not_found")


async def test_a_form_that_is_not_given_is_refused_before_anything_is_read(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        answer = await client.post("/v1/explain?label=normal", headers={"accept": "image/webp"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["offered"] == ["image/png", "application/json"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/json, */*;q=0.5", "application/json"),
        ("image/png;q=0.2, application/json;q=0.9", "application/json"),
        ("*/*, image/png;q=0", "application/json"),
        ("text/html, image/*;q=0.1", "image/png"),
    ],
)
def test_the_accept_header_decides_as_rfc_9110_says(accept: str | None, kind: str) -> None:
    assert chosen_type(accept, ("image/png", "application/json")) == kind


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "*/*;q=0", "image/png;q=high", "x"])
def test_what_is_not_offered_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        chosen_type(accept, ("image/png", "application/json"))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
async def test_a_box_lies_in_the_image_that_was_sent_however_it_was_fitted(
    serving: Serving, tmp_path: Path, fit: str
) -> None:
    sigmoid_package(tmp_path / "models" / "tiny", input={"side": 32, "fit": fit})
    pixels = spot(left=200, top=80)
    answer = await post(serving, "/v1/predict?explain=true", pixels)
    normal, pneumonia = answer.json()["results"][0]["findings"]
    (box,) = pneumonia["boxes"]
    middle = (box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)
    assert middle == (pytest.approx(250, abs=30), pytest.approx(120, abs=30))
    assert 0.5 <= box["score"] <= 1
    assert normal["boxes"] is None


async def test_boxes_cost_nothing_unless_asked_for_and_are_for_positive_findings(
    serving: Serving, tmp_path: Path
) -> None:
    sigmoid_package(tmp_path / "models" / "tiny", bias=-0.3)
    async with serving() as client:
        for query, value, positive, boxes in (
            ("", 255, True, 0),
            ("?explain=true", 255, True, 1),
            ("?explain=true", 80, False, 0),
        ):
            image = png(spot(left=100, top=80, value=value))
            answer = await client.post(f"/v1/predict{query}", content=image)
            finding = answer.json()["results"][0]["findings"][1]
            assert finding["positive"] is positive
            assert len(finding["boxes"] or ()) == boxes
            assert (finding["boxes"] is None) is not bool(boxes)


MIDDLE_ROWS = tiny_mask_graph(rows=slice(4, 12))  # 80 to 240 of 320


@pytest.mark.parametrize(("label", "limited"), [("pneumonia", True), ("Cardiomegaly", False)])
async def test_boxes_of_lung_findings_keep_to_the_lungs_that_were_found(
    serving: Serving, tmp_path: Path, label: str, limited: bool
) -> None:
    everywhere = np.full((320, 400), 250, np.uint8)
    sigmoid_package(tmp_path / "models" / "tiny", label)
    alone = (await post(serving, "/v1/predict?explain=true", everywhere)).json()["results"][0]
    assert alone["boxes_within"] is None
    write_tiny_segmentation(tmp_path / "models" / "lungs", graph=MIDDLE_ROWS)
    (result,) = (await post(serving, "/v1/predict?explain=true", everywhere)).json()["results"]
    (free,), (box,) = alone["findings"][1]["boxes"], result["findings"][1]["boxes"]
    assert (free["top"], free["height"]) == (0, 320)
    if limited:
        assert result["boxes_within"] == "lungs-unet@1.0.0"
        margin = 2 / 32 * 320
        assert (box["top"], box["height"]) == (80 - margin, 160 + 2 * margin)
    else:
        assert result["boxes_within"] is None
        assert box == free
    figures = await post(serving, f"/v1/explain?label={label}", everywhere, JSON)
    assert figures.json()["boxes"] == [box]
    assert figures.json()["boxes_within"] == result["boxes_within"]


async def test_lungs_that_are_doubted_limit_no_box(serving: Serving, tmp_path: Path) -> None:
    sigmoid_package(tmp_path / "models" / "tiny")
    write_tiny_segmentation(tmp_path / "models" / "lungs", graph=MIDDLE_ROWS)
    faint = np.full((320, 400), 200, np.uint8)  # probability 0.78
    (result,) = (await post(serving, "/v1/predict?explain=true", faint)).json()["results"]
    assert result["boxes_within"] is None
    assert result["findings"][1]["boxes"][0]["height"] == 320


async def test_the_mirror_option_answers_the_mean_and_says_so(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    write_tiny_segmentation(tmp_path / "models" / "lungs")
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (64, 64), np.uint8)
    query = "/v1/predict?explain=true&model=tiny&model=lungs-unet"
    async with serving() as client:
        plain = (await client.post(query, content=png(pixels))).json()["results"]
        mirror = (await client.post(query, content=png(pixels[:, ::-1]))).json()["results"]
        both = await client.post(f"{query}&augment=mirror", content=png(pixels))
        other = await client.post(f"{query}&augment=rotate", content=png(pixels))
        figures = await client.post(
            "/v1/explain?label=pneumonia&augment=mirror", content=png(pixels), headers=JSON
        )
    results = both.json()["results"]
    assert [one["augment"] for one in plain] == [None, None]
    assert [one["augment"] for one in results] == ["mirror", None]
    assert figures.json()["augment"] == "mirror"
    grid, back, mean = (
        np.array(one[0]["findings"][1]["heat_map"]["grid"]) for one in (plain, mirror, results)
    )
    assert mean == pytest.approx((grid + back[:, ::-1]) / 2, abs=1e-4)
    assert results[1]["segmentation"] == plain[1]["segmentation"]
    assert (other.status_code, other.json()["code"]) == (400, "unknown_option")


async def test_the_mirror_option_changes_an_answer_that_depends_on_the_side(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny", graph=tiny_graph(right_half=0.0))
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, :16] = 255
    async with serving() as client:
        logits = []
        for image, query in ((pixels, ""), (pixels[:, ::-1], ""), (pixels, "&augment=mirror")):
            path = f"/v1/explain?label=pneumonia{query}"
            logits.append(
                (await client.post(path, content=png(image), headers=JSON)).json()["logit"]
            )
    assert abs(logits[0] - logits[1]) > 1
    assert logits[2] == pytest.approx((logits[0] + logits[1]) / 2, abs=1e-4)


async def test_the_interface_description_names_both_forms(serving: Serving, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        document = (await client.get("/openapi.json")).json()
    explain = document["paths"]["/v1/explain"]["post"]
    assert {"image/png", "application/json"} <= explain["responses"]["200"]["content"].keys()
    assert "406" in explain["responses"]
    assert {"label", "model", "augment"} <= {one["name"] for one in explain["parameters"]}
