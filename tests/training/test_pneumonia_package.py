"""The committed package says of itself what is true, and still reaches its reported figures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml
from numpy.typing import NDArray

from cxrserve.findings.interpret import probabilities
from cxrserve.models.manifest import Manifest, Metric
from cxrserve.training import metrics
from cxrserve.training.datasets import Examples, load_examples
from cxrserve.training.recipe import read_recipe

NAME = "pneumonia-mobilenetv2"
PACKAGE = Path(__file__).resolve().parents[2] / "models" / NAME


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Manifest.model_validate(yaml.safe_load((PACKAGE / "model.yaml").read_text("utf-8")))


@pytest.fixture(scope="module")
def test_split(real_data: Path) -> Examples:
    return load_examples(real_data, read_recipe(NAME), "test")


@pytest.fixture(scope="module")
def probability(test_split: Examples, manifest: Manifest) -> NDArray[np.floating]:
    """P(pneumonia) of each test film, by the committed graph."""
    session = onnxruntime.InferenceSession(
        PACKAGE / manifest.graphs[0].file, providers=["CPUExecutionProvider"]
    )
    pixels = test_split.pixels[:, None]
    logits = [
        session.run(["logits"], {"pixels": pixels[i : i + 32]})[0]
        for i in range(0, len(pixels), 32)
    ]
    return probabilities(np.concatenate(logits), manifest.activation, manifest.calibration)[:, 1]


def figure(manifest: Manifest, name: str, *, point: str | None = None) -> Metric:
    (found,) = (
        metric
        for metric in manifest.metrics
        if (metric.name, metric.split, metric.operating_point) == (name, "test", point)
    )
    return found


def test_every_file_has_the_digest_the_manifest_gives(manifest: Manifest) -> None:
    named = {**{graph.file: graph.sha256 for graph in manifest.graphs}, **manifest.files}
    for name, digest in named.items():
        assert hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() == digest, name


def test_it_was_made_by_the_recipe_that_is_in_the_package(manifest: Manifest) -> None:
    recipe = read_recipe(NAME)
    assert manifest.provenance.recipe_sha256 == recipe.sha256
    assert (manifest.name, manifest.version) == (recipe.name, recipe.version)


def test_it_is_for_children_and_says_so(manifest: Manifest) -> None:
    assert manifest.age_bands == ("0-1", "2-11")
    card = (PACKAGE / "MODEL_CARD.md").read_text("utf-8")
    limits = card.index("## Limits, first")
    assert card.index("Research use only") < limits < card.index("## Figures")
    assert "not evidence about adults" in card


@pytest.mark.data
def test_the_reported_auc_is_reproduced(
    manifest: Manifest, test_split: Examples, probability: NDArray[np.floating]
) -> None:
    reported = figure(manifest, "auc")
    assert reported.images == len(test_split.targets)
    assert reported.interval.value >= 0.97
    measured = metrics.auc(test_split.targets[:, 1] == 1, probability)
    assert measured == pytest.approx(reported.interval.value, abs=0.002)


@pytest.mark.data
@pytest.mark.parametrize("point", ["screening", "balanced", "rule_in"])
def test_the_operating_points_do_what_they_report(
    manifest: Manifest, test_split: Examples, probability: NDArray[np.floating], point: str
) -> None:
    ill = test_split.targets[:, 1] == 1
    positive = probability >= manifest.operating_points[point]["pneumonia"]
    sensitivity = figure(manifest, "sensitivity", point=point).interval.value
    specificity = figure(manifest, "specificity", point=point).interval.value
    assert metrics.share(positive, ill) == pytest.approx(sensitivity, abs=0.005)
    assert metrics.share(~positive, ~ill) == pytest.approx(specificity, abs=0.008)
