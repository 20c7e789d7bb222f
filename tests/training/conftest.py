"""Where the real radiographs are, and a made-up hospital small enough to train on in seconds."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrserve.training.recipe import Recipe, read_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = ("file", "task", "labels", "patient", "split", "age")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real radiographs; the test is skipped where it is absent."""
    data = Path(os.environ.get("CXRSERVE_DATA_DIR") or REPOSITORY.parent / "shared" / "data")
    if not (data / "manifest.csv").is_file():
        pytest.skip("the real radiographs are not here; set CXRSERVE_DATA_DIR to their folder")
    return data


def row(*values: str) -> dict[str, str]:
    """One row of a manifest, its values in the order of `COLUMNS`."""
    return dict(zip(COLUMNS, values, strict=True))


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def phantom(draws: np.random.Generator, *, ill: bool) -> NDArray[np.uint8]:
    """Two dark lungs on a grey chest, uint8 `[96, 80]`; ill lungs have a bright patch."""
    image = draws.normal(140, 8, (96, 80))
    image[16:80, 10:34] -= 90
    image[16:80, 46:70] -= 90
    if ill:
        top = int(draws.integers(30, 60))
        image[top : top + 16, 14:30] += 70
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: 16 patients a split with two films each, and 4 adults of another source."""
    folder = tmp_path_factory.mktemp("hospital")
    draws = np.random.default_rng(7)
    rows = []
    for split in ("train", "val", "test"):
        for number in range(16):
            for film in range(2):
                name = f"{split}-{number}-{film}.png"
                Image.fromarray(phantom(draws, ill=number % 2 == 1)).save(folder / name)
                label = "pneumonia|viral" if number % 2 else "normal"
                rows.append(row(name, "pneumonia", label, f"{split}-{number}", split, "4"))
    for number in range(4):
        name = f"adult-{number}.png"
        Image.fromarray(phantom(draws, ill=False)).save(folder / name)
        rows.append(row(name, "nih14", "", name, "test", "50"))
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Pneumonia or normal by MobileNetV2: one epoch of 64-pixel images, from random weights."""
    recipe = read_recipe("triage-mobilenetv2").model_dump()
    recipe["name"] = "pneumonia"
    recipe["sources"] = [
        {"task": "pneumonia", "meaning": {"normal": "normal", "pneumonia": "pneumonia"}}
    ]
    recipe["labels"] = recipe["labels"][:2]
    recipe["contrasts"], recipe["shortcuts"] = [], None
    recipe["precisions"] = ["fp32"]
    recipe["input"]["side"] = 64
    recipe["network"]["weights"] = None
    recipe["optimisation"] |= {"films_per_epoch": None}
    recipe["optimisation"]["phases"] = [{"side": 64, "epochs": 1}]
    return Recipe.model_validate(recipe)
