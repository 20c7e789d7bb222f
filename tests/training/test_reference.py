"""A package's reference is made of the films it is said to be made of, and of no others."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats  # type: ignore[import-untyped]
from typer.testing import CliRunner, Result

from cxrserve.findings.interpret import Finding, probabilities
from cxrserve.models.manifest import Manifest, Reference
from cxrserve.models.package import read_package
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.phantom import draw_phantom, write_phantom
from cxrserve.training import commands
from cxrserve.training.datasets import Film, films_of, load_pixels, read_manifest
from cxrserve.training.graphs import outputs_of
from cxrserve.training.recipe import recipe_of
from cxrserve.training.reference import (
    NoReference,
    add_reference,
    drift_of,
    edges_of,
    reference_of,
)
from tests.tiny_package import write_tiny_package, write_tiny_segmentation

MODELS = Path(__file__).resolve().parents[2] / "models"
QUICK = "triage"
OTHERS = (
    *("tb-mobilenetv2", "chexml-resnet50"),
    *("nih14-densenet121", "nih14-mobilenetv2", "nih14-cnn"),
)


@cache
def packaged(name: str) -> tuple[Manifest, Reference]:
    manifest = read_package(MODELS / name).manifest
    assert manifest.reference is not None
    return manifest, manifest.reference


def held_out(data: Path, manifest: Manifest) -> tuple[Film, ...]:
    return films_of(data, recipe_of(manifest.provenance.recipe_sha256), "val")


def read_by_training(
    data: Path, name: str, manifest: Manifest, films: tuple[Film, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Probabilities `[n, K]` of films that training's own code reads, not serving's."""
    pixels = load_pixels(data, films, manifest.input)[:, None]
    (logits,) = outputs_of(MODELS / name / manifest.graphs[0].file, pixels, ["logits"])
    return probabilities(logits, manifest.activation, manifest.calibration)


def command(*asked: str) -> Result:
    app = typer.Typer()
    commands.register(app)
    return CliRunner().invoke(app, asked)


# The committed packages


@pytest.mark.parametrize("name", [QUICK, *OTHERS])
def test_every_classifier_has_a_reference_of_the_films_it_never_learned_from(name: str) -> None:
    manifest, reference = packaged(name)
    evaluated = yaml.safe_load((MODELS / name / "metrics.json").read_text("utf-8"))
    assert (reference.films, reference.images) == ("val", evaluated["films"]["val"][0])
    assert set(reference.labels) == {label.name for label in manifest.labels if label.trained}
    thresholds = manifest.operating_points[manifest.default_operating_point or ""]
    for label, said in reference.labels.items():
        assert sum(said.shares) == pytest.approx(1, abs=1e-5)
        assert sum(said.tenths) == pytest.approx(1, abs=1e-5)
        assert min(said.shares) >= 0.05
        lowest = sum(share * tenth / 10 for tenth, share in enumerate(said.tenths))
        assert lowest <= said.mean <= lowest + 0.1
        assert (said.positive_rate is None) == (label not in thresholds)


@pytest.mark.data
def test_the_reference_is_what_other_code_makes_of_these_films(real_data: Path) -> None:
    manifest, reference = packaged(QUICK)
    films = held_out(real_data, manifest)
    found = read_by_training(real_data, QUICK, manifest, films)
    thresholds = manifest.operating_points[manifest.default_operating_point or ""]
    # A film on the edge of a bin may fall to its other side on another processor.
    one_film = pytest.approx(0, abs=1.1 / len(films))
    for label, column in zip(manifest.labels, found.T, strict=True):
        said = reference.labels[label.name]
        assert said.mean == pytest.approx(column.mean(), abs=1e-4)
        tenths = np.histogram(column, 10, (0, 1))[0] / len(films)
        bins = np.histogram(column, [0, *said.edges, 1])[0] / len(films)
        assert [*(tenths - said.tenths), *(bins - said.shares)] == [one_film] * (
            10 + len(said.shares)
        )
        if said.positive_rate is not None:
            assert (column >= thresholds[label.name]).mean() - said.positive_rate == one_film


@pytest.mark.data
@pytest.mark.parametrize("name", OTHERS)
def test_a_few_films_lie_as_the_reference_says(real_data: Path, name: str) -> None:
    manifest, reference = packaged(name)
    films = held_out(real_data, manifest)
    few = films[:: len(films) // 16]
    found = read_by_training(real_data, name, manifest, few)
    for label, column in zip(manifest.labels, found.T, strict=True):
        said = reference.labels[label.name]
        counts = np.histogram(column, [0, *said.edges, 1])[0]
        expected = np.array(said.shares) / sum(said.shares) * len(few)
        assert stats.chisquare(counts, expected).pvalue > 1e-4, label.name


@pytest.mark.data
def test_the_command_makes_the_committed_reference_again(real_data: Path, tmp_path: Path) -> None:
    name = "nih14-mobilenetv2"
    package = shutil.copytree(MODELS / name, tmp_path / name)
    committed = yaml.safe_load((package / "model.yaml").read_text("utf-8"))
    (package / "model.yaml").write_text(yaml.safe_dump({**committed, "reference": None}), "utf-8")
    done = command("reference", str(package), "--data", str(real_data))
    assert done.exit_code == 0, done.output
    assert "163 films read, 0 left out; 5 bins" in done.output
    again = yaml.safe_load((package / "model.yaml").read_text("utf-8"))
    assert {**again, "reference": None} == {**committed, "reference": None}
    for label, said in again["reference"]["labels"].items():
        for key, value in committed["reference"]["labels"][label].items():
            assert said[key] == pytest.approx(value, abs=1.1 / 163), (label, key)


@pytest.mark.data
def test_adults_held_out_are_no_drift_and_children_are(real_data: Path) -> None:
    """The network learned from one hospital's adults; children of another are others indeed."""
    package = MODELS / "nih14-mobilenetv2"
    manifest, _ = packaged(package.name)
    adults = films_of(real_data, recipe_of(manifest.provenance.recipe_sha256), "test")
    children = [film for film in read_manifest(real_data, task="pneumonia") if film.split == "test"]
    at_home, abroad = (
        drift_of(package, [real_data / film.file for film in films])
        for films in (adults, children[::10])
    )
    assert (at_home.images, abroad.images) == (229, 55)
    assert at_home.noise == pytest.approx(4 * (1 / 163 + 1 / 229))
    assert max(label.index for label in at_home.labels.values()) < 0.25
    assert min(label.index for label in abroad.labels.values()) > 0.25


# Bins


@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.integers(1, 300))
def test_bins_hold_films_enough_whatever_ties_there_are(seed: int, films: int, values: int) -> None:
    drawn = np.floor(np.random.default_rng(seed).beta(0.3, 1, films) * values) / values
    found = [[Finding("pneumonia", float(one), None, None, None)] for one in drawn.round(6)]
    said = reference_of(found, films="own").labels["pneumonia"]
    counts = np.histogram(drawn.round(6), [-1, *said.edges, 2])[0]
    assert said.shares == pytest.approx(counts / films, abs=1e-6)
    wanted = max(1, min(10, films // 30))
    assert len(counts) <= wanted
    assert counts.min() >= films / wanted / 2 or len(counts) == 1


def test_films_without_ties_are_parted_evenly() -> None:
    films = np.random.default_rng(1).permutation(np.arange(660) / 660)
    assert np.histogram(films, [0, *edges_of(films), 1])[0].tolist() == [66] * 10
    assert len(edges_of(films[:163])) + 1 == 5
    assert len(edges_of(films[:59])) + 1 == 1


def test_labels_without_training_or_threshold() -> None:
    found = [
        [
            Finding("normal", 1 - number / 99, None, None, None),
            Finding("pneumonia", number / 99, 0.5, number / 99 >= 0.5, None),
            Finding("edema", None, None, None, None),
        ]
        for number in range(100)
    ]
    reference = reference_of(found, films="own")
    assert set(reference.labels) == {"normal", "pneumonia"}
    assert reference.labels["normal"].positive_rate is None
    assert reference.labels["pneumonia"].positive_rate == 0.5
    assert reference.labels["pneumonia"].tenths == tuple([0.1] * 10)


# A hospital's own films


@pytest.fixture(scope="module")
def own_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 films that are served, and three files that are not: a phantom, a letter, a stamp."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "ward").mkdir()
    drawn = draw_phantom(side=160)
    for number in range(64):
        brightness = np.linspace(0.2, 1.0, 64)[number]
        film = Image.fromarray((drawn * brightness).astype(np.uint8))
        film.save(folder / "ward" / f"{number}.jpg", quality=95)
    write_phantom(folder / "drill.png", side=160)
    (folder / "letter.txt").write_text("Dear colleague")
    Image.fromarray(drawn[:64, :64]).save(folder / "stamp.png")
    return folder


def test_own_films_make_a_reference_of_what_serving_would_count(
    tmp_path: Path, own_films: Path
) -> None:
    package = write_tiny_package(tmp_path / "tiny")
    files = sorted(file for file in own_films.rglob("*") if file.is_file())
    added = add_reference(package, files, films="own", gate=QualityGate(None))
    assert added.left_out == 3
    manifest = read_package(package).manifest
    assert manifest == added.manifest
    assert manifest.reference is not None
    assert (manifest.reference.films, manifest.reference.images) == ("own", 64)
    assert len(manifest.reference.labels["pneumonia"].shares) == 2


def test_films_are_compared_with_the_reference(tmp_path: Path, own_films: Path) -> None:
    package = write_tiny_package(tmp_path / "tiny")
    films = sorted((own_films / "ward").iterdir(), key=lambda file: int(file.stem))
    with pytest.raises(NoReference, match="has no reference"):
        drift_of(package, films)
    add_reference(package, films, films="own")
    before = (package / "model.yaml").read_bytes()
    assert drift_of(package, films).labels["pneumonia"].index < 1e-3
    bright = drift_of(package, [*films[32:], own_films / "letter.txt"])
    assert (bright.images, bright.left_out) == (32, 1)
    assert bright.labels["pneumonia"].index > 0.25
    assert bright.labels["pneumonia"].mean > bright.reference.labels["pneumonia"].mean
    assert (package / "model.yaml").read_bytes() == before


def test_the_command_reads_own_films_behind_the_gate(tmp_path: Path, own_films: Path) -> None:
    """Drawn chests are phantoms to the gate's network, whatever the files say of themselves."""
    package = write_tiny_package(tmp_path / "tiny")
    before = (package / "model.yaml").read_bytes()
    done = command(
        "reference", str(package), "--films", str(own_films), "--gate", str(MODELS / "gate")
    )
    assert done.exit_code == 1
    assert "none of 67 films could be read" in done.output
    assert (package / "model.yaml").read_bytes() == before
    without_gate = command("reference", str(package), "--films", str(own_films))
    assert without_gate.exit_code == 1
    assert "gate" in without_gate.output


def test_what_gives_no_probabilities_has_no_reference(tmp_path: Path, own_films: Path) -> None:
    with pytest.raises(NoReference, match="no probabilities"):
        add_reference(write_tiny_segmentation(tmp_path / "lungs"), [own_films], films="own")
    with pytest.raises(NoReference, match="no probabilities"):
        add_reference(MODELS / "gate", [], films="own")


def test_films_of_other_data_are_not_called_held_out(tmp_path: Path, hospital: Path) -> None:
    package = shutil.copytree(MODELS / "triage", tmp_path / "triage")
    before = (package / "model.yaml").read_bytes()
    other_data = command("reference", str(package), "--data", str(hospital))
    assert other_data.exit_code == 1
    assert "of other data" in other_data.output
    other_recipe = command(
        "reference", str(package), "--data", str(hospital), "--recipe", "nih14-cnn"
    )
    assert other_recipe.exit_code == 1
    assert (package / "model.yaml").read_bytes() == before
    of_no_recipe = command(
        "reference", str(write_tiny_package(tmp_path / "tiny")), "--data", str(hospital)
    )
    assert of_no_recipe.exit_code == 1
    assert "no recipe here has this digest" in of_no_recipe.output
