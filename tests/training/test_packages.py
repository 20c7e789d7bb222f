"""The committed packages say of themselves what is true, and still reach their reported figures."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines.engine import Masks
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.models.manifest import Metric
from cxrserve.models.package import ModelPackage, read_package
from cxrserve.training import metrics
from cxrserve.training.datasets import Examples, load_examples, load_lungs
from cxrserve.training.evaluation import ALL
from cxrserve.training.figures import Measured, contrast
from cxrserve.training.graphs import outputs_of
from cxrserve.training.recipe import RECIPES, Contrast, Recipe, read_recipe

MODELS = Path(__file__).resolve().parents[2] / "models"
NAMES = (
    *("tb-mobilenetv2", "nih14-densenet121", "nih14-mobilenetv2", "nih14-cnn"),
    *("chexml-resnet50", "triage", "lungs-unet"),
)
PNEUMONIA = {
    "triage": ("pneumonia",),
    "tb-mobilenetv2": ("pneumonia",),
    "chexml-resnet50": ("bacterial_pneumonia", "viral_pneumonia"),
}


def package_of(name: str) -> ModelPackage:
    return read_package(MODELS / name)


def recipe_of(name: str) -> Recipe:
    """The recipe whose digest the package holds; a selected package is made by its winner's."""
    wanted = package_of(name).manifest.provenance.recipe_sha256
    (found,) = (
        recipe
        for recipe in (read_recipe(path.stem) for path in RECIPES.glob("*.yaml"))
        if recipe.sha256 == wanted
    )
    return found


def figure(package: ModelPackage, name: str, *, label: str = ALL, split: str = "test") -> Metric:
    (found,) = (
        metric
        for metric in package.manifest.metrics
        if (metric.name, metric.label, metric.split) == (name, label, split)
        and metric.operating_point is None
    )
    return found


@cache
def examples_of(data: Path, name: str) -> Examples:
    return load_examples(data, recipe_of(name), "test")


@cache
def logits_of(data: Path, name: str) -> NDArray[np.float32]:
    """Logits of the test films by the graph that is served."""
    package = package_of(name)
    graph = package.folder / package.manifest.graphs[0].file
    return outputs_of(graph, examples_of(data, name).pixels[:, None], ["logits"])[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_the_digest_the_manifest_gives(name: str) -> None:
    package = package_of(name)
    manifest = package.manifest
    named = {**{graph.file: graph.sha256 for graph in manifest.graphs}, **manifest.files}
    for file, digest in named.items():
        assert hashlib.sha256((package.folder / file).read_bytes()).hexdigest() == digest, file
    assert set(named) | {"model.yaml"} == {file.name for file in package.folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_it_was_made_by_a_recipe_that_is_here(name: str) -> None:
    manifest = package_of(name).manifest
    assert recipe_of(name).labels == manifest.labels
    assert manifest.name == name
    assert manifest.provenance.data_manifest_sha256 is not None


@pytest.mark.parametrize("name", NAMES)
def test_its_card_puts_the_limits_before_the_figures(name: str) -> None:
    card = package_of(name).card()
    limits = card.index("## Limits, first")
    assert card.index("Research use only") < limits < card.index("## Figures")
    if name in PNEUMONIA:
        assert card.index("## Does it know the disease or the place?") < limits


def test_all_of_them_fit_into_the_repository() -> None:
    size = sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file())
    assert size < 60e6


@pytest.mark.parametrize("name", NAMES)
def test_lesser_precisions_kept_their_bounds(name: str) -> None:
    package = package_of(name)
    masks = package.manifest.task == "segmentation"
    for graph in package.manifest.graphs:
        if graph.precision == "fp32":
            assert graph.parity is not None
            assert graph.parity <= 1e-4
            continue
        difference = figure(package, f"{graph.precision}_probability_difference_p99")
        assert difference.interval.value <= 0.03, "a mask's probabilities too" if masks else ""
        assert figure(package, f"{graph.precision}_figure_difference").interval.value <= 0.005


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lungs-unet"])
def test_its_map_was_grad_cam(name: str) -> None:
    assert figure(package_of(name), "grad_cam_difference").interval.value <= 1e-4


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in NAMES if name != "lungs-unet"])
def test_the_reported_mean_auc_is_what_the_served_graph_reaches(real_data: Path, name: str) -> None:
    recipe, examples = recipe_of(name), examples_of(real_data, name)
    package = package_of(name)
    measured = metrics.mean_auc(recipe, examples.targets, logits_of(real_data, name))
    reported = figure(package, "auc")
    assert reported.images == len(examples.films)
    # Of a graph in fewer bits the export allows 0.005; probabilities are held to 0.03.
    assert measured == pytest.approx(reported.interval.value, abs=0.006)


@pytest.mark.data
@pytest.mark.parametrize("name", PNEUMONIA)
def test_pneumonia_is_told_from_normal(real_data: Path, name: str) -> None:
    wanted = Contrast(name="", task="pneumonia", positive=PNEUMONIA[name], negative=("normal",))
    assert _contrast(real_data, name, wanted) >= 0.98


@pytest.mark.data
def test_viral_and_bacterial_pneumonia_are_told_apart_as_well_as_was_reached(
    real_data: Path,
) -> None:
    wanted = Contrast(
        name="", task="pneumonia",
        positive=("viral_pneumonia",), negative=("bacterial_pneumonia",),
    )  # fmt: skip
    # 0.90 was aimed at; docs/training.md says what was tried.
    assert _contrast(real_data, "chexml-resnet50", wanted) >= 0.78


def test_with_the_lungs_painted_black_tuberculosis_is_hardly_told_from_other_adults() -> None:
    package = package_of("tb-mobilenetv2")
    leaks = figure(
        package,
        "auc_without_lungs_by_source",
        label="tuberculosis against the films of nih14",
    )
    assert leaks.interval.value <= 0.65
    assert figure(package, "auc_without_lungs", label="tuberculosis").interval.value <= 0.82


@pytest.mark.data
def test_the_fourteen_findings_are_found_better_than_a_thumbnail_finds_them(
    real_data: Path,
) -> None:
    name = "nih14-densenet121"
    examples = examples_of(real_data, name)
    measured = metrics.mean_auc(recipe_of(name), examples.targets, logits_of(real_data, name))
    assert measured >= 0.68
    assert measured > figure(package_of(name), "auc_of_a_thumbnail").interval.value


@pytest.mark.data
def test_lungs_are_outlined(real_data: Path) -> None:
    recipe = recipe_of("lungs-unet")
    examples = examples_of(real_data, "lungs-unet")
    masks = load_onnx_cpu(package_of("lungs-unet")).run(examples.pixels[:, None])
    assert isinstance(masks, Masks)
    truth = load_lungs(real_data, examples.films, recipe.input).max(axis=1) > 127
    dice = metrics.dice(np.asarray(masks.mask.max(axis=1) > 0.5), np.asarray(truth))
    assert dice.mean() >= 0.92


@pytest.mark.data
def test_maps_of_tuberculosis_peak_inside_a_readers_box(real_data: Path) -> None:
    package = package_of("tb-mobilenetv2")
    reported = figure(package, "map_peak_in_box", label="tuberculosis").interval.value
    assert reported >= 0.70
    examples = examples_of(real_data, "tb-mobilenetv2")
    ill = examples.having(examples.targets[:, 2] == 1)
    (cam,) = outputs_of(package.folder / "model.onnx", ill.pixels[:, None], ["cam"])
    inside = 0
    for grid, film in zip(cam[:, 2], ill.films, strict=True):
        row, column = np.unravel_index(grid.argmax(), grid.shape)
        y, x = (row + 0.5) / grid.shape[0], (column + 0.5) / grid.shape[1]
        inside += any(
            b.left <= x <= b.left + b.width and b.top <= y <= b.top + b.height for b in film.boxes
        )
    assert inside / len(ill.films) == pytest.approx(reported, abs=0.03)


def _contrast(data: Path, name: str, wanted: Contrast) -> float:
    recipe = recipe_of(name)
    calibration = package_of(name).manifest.calibration
    measured = Measured(recipe, examples_of(data, name), logits_of(data, name), calibration)
    return contrast(measured, wanted).interval.value
