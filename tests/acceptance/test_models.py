"""All seven packages, asked over HTTP of the real service."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.acceptance.bad_uploads import phantom_bytes

pytestmark = pytest.mark.server

CLASSIFIERS = {
    "tb-mobilenetv2": "tuberculosis",
    "nih14-densenet121": "Effusion",
    "nih14-mobilenetv2": "Effusion",
    "nih14-cnn": "Effusion",
    "chexml-resnet50": "viral_pneumonia",
    "triage": "pneumonia",
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return phantom_bytes(".png", tmp_path_factory.mktemp("film"))


def test_every_package_is_loaded(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert {one["name"] for one in listed["models"]} >= {*CLASSIFIERS, "lungs-unet"}
    assert listed["left_out"] == []


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_classifier_answers_explains_and_shows_its_curves(
    client: httpx.Client, film: bytes, name: str
) -> None:
    label = CLASSIFIERS[name]
    answer = client.post("/v1/predict", content=film, params={"model": name})
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    found = {finding["label"]: finding["probability"] for finding in result["findings"]}
    assert 0 <= found[label] <= 1
    told = {"model": name, "label": label}
    as_json = client.post(
        "/v1/explain", content=film, params=told, headers={"accept": "application/json"}
    ).json()
    cells = [value for row in as_json["grid"] for value in row]
    mean = sum(cells) / len(cells) + as_json["bias"]
    assert mean == pytest.approx(as_json["logit"], abs=1e-3)
    assert as_json["probability"] == pytest.approx(found[label], abs=1e-5)
    picture = client.post("/v1/explain", content=film, params=told)
    with Image.open(io.BytesIO(picture.content)) as drawn:
        assert (drawn.format, drawn.mode) == ("PNG", "RGB")
    plots = client.get(f"/v1/models/{name}").json()["plots"]
    assert set(plots) == {"roc.png", "precision_recall.png", "reliability.png"}
    assert client.get(f"/v1/models/{name}/plots/roc.png").content.startswith(b"\x89PNG")


@pytest.mark.data
def test_lungs_are_outlined_on_real_films(client: httpx.Client, data_dir: Path) -> None:
    for file in sorted((data_dir / "lungs").glob("*.jpg"))[:8]:
        answer = client.post(
            "/v1/predict", content=file.read_bytes(), params={"model": "lungs-unet"}
        )
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        segments = result["segmentation"]["segments"]
        shares = {segment["label"]: segment["area_share"] for segment in segments}
        assert set(shares) == {"right_lung", "left_lung"}
        assert all(0.03 < share < 0.45 for share in shares.values()), file.name
