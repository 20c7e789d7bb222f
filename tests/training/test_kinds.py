"""Many findings, classes without data, masks, shortcuts, selection: each through the pipeline."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cxrserve.engines.engine import Masks, Outputs
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.findings.interpret import find
from cxrserve.models.package import read_package
from cxrserve.training.evaluate import evaluate
from cxrserve.training.export import export
from cxrserve.training.recipe import Recipe, read_recipe
from cxrserve.training.select import SELECTION, Selection, select
from cxrserve.training.sheet import draw_sheet
from cxrserve.training.train import train
from tests.training.conftest import phantom

SIDE = 64
COLUMNS = (
    *("file", "task", "labels", "patient", "split", "age", "source", "view", "sex"),
    *("boxes", "original_width", "original_height"),
)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, three findings, boxes, lung masks; every film of tuberculosis from one place."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "lungs" / "masks").mkdir(parents=True)
    draws = np.random.default_rng(11)
    rows: list[tuple[str, ...]] = []

    def add(name: str, task: str, labels: str, split: str, *, ill: bool, boxes: str = "") -> None:
        image = phantom(draws, ill=ill)
        if task == "tb":
            image = np.maximum(image, 12)  # what gives the source away
        Image.fromarray(image).save(folder / name)
        patient = Path(name).stem
        sex, view = ("M", "AP") if int(patient.split("-")[-1]) % 4 < 2 else ("F", "PA")
        rows.append((name, task, labels, patient, split, "40", task, view, sex, boxes, "80", "96"))

    for split, count in (("train", 24), ("val", 16), ("test", 48)):
        for n in range(count):
            ill = n % 2 == 1
            add(f"p-{split}-{n}.png", "pneumonia", "pneumonia" if ill else "normal", split, ill=ill)
            found = "|".join(("Mass", "Nodule")[: n % 3]) if ill else ""
            box = "Mass:14,30,16,30" if "Mass" in found else ""
            add(f"n-{split}-{n}.png", "nih14", found, split, ill=ill, boxes=box)
            kind = "tuberculosis|active" if n % 4 else "tuberculosis|latent"
            lesion = "ActiveTuberculosis:14,30,16,30"
            add(f"t-{split}-{n}.png", "tb", kind, split, ill=True, boxes=lesion)
            if n < 8:
                add(f"lungs/l-{split}-{n}.png", "lungs", "", split, ill=False)
                mask = np.zeros((96, 80), np.uint8)
                mask[16:80, 10:34] = mask[16:80, 46:70] = 255
                Image.fromarray(mask).save(folder / "lungs" / "masks" / f"l-{split}-{n}.png")
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return folder


def cut_down(base: str, **changes: Any) -> Recipe:
    """A recipe of the package made small: a plain network, two epochs of 64-pixel images."""
    said = read_recipe(base).model_dump()
    said["input"]["side"] = SIDE
    said["network"] = {"architecture": "plain-cnn"}
    said["optimisation"] |= {"films_per_epoch": None, "batch": 8}
    said["optimisation"]["phases"] = [{"side": SIDE, "epochs": 2}]
    said["precisions"] = ["fp32"]
    said["out_of_source"], said["shortcuts"], said["contrasts"] = [], None, []
    return Recipe.model_validate(said | changes)


def made(recipe: Recipe, data: Path, runs: Path) -> Path:
    """The package of a recipe, by the whole pipeline."""
    run, package = runs / recipe.name, runs / "packages" / recipe.name
    train(recipe, data=data, out=run)
    evaluate(recipe, data=data, run=run)
    export(recipe, data=data, run=run, package=package)
    return package


def labels_of(*names: str, untrained: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"name": name, "finding": name != "normal", "trained": name not in untrained}
        for name in names
    ]


def test_each_of_several_findings_is_measured_and_calibrated_by_itself(
    clinic: Path, tmp_path: Path
) -> None:
    recipe = cut_down(
        "nih14-cnn", labels=labels_of("Mass", "Nodule", "Hernia"), precisions=["fp32", "fp16"]
    )
    package = read_package(made(recipe, clinic, tmp_path))
    manifest = package.manifest
    assert manifest.activation == "sigmoid"
    assert manifest.calibration.method == "platt"
    assert len(manifest.calibration.scales) == 3
    aucs = {m.label for m in manifest.metrics if m.name == "auc" and m.split == "test"}
    # No film has a hernia: it has no figure and no threshold, and is no reason to fail.
    assert aucs == {"Mass", "Nodule", "all findings"}
    assert set(manifest.operating_points["balanced"]) == {"Mass", "Nodule"}
    groups = {m.split for m in manifest.metrics if m.name == "auc"}
    assert any("view AP" in split for split in groups)
    assert any("sex F" in split for split in groups)
    located = [m for m in manifest.metrics if m.name == "located_at_iou_0.5"]
    assert [m.label for m in located] == ["Mass"]
    assert [graph.precision for graph in manifest.graphs] == ["fp32", "fp16"]
    (cam,) = (m for m in manifest.metrics if m.name == "grad_cam_difference")
    assert cam.interval.value < 1e-4
    card = package.card()
    assert "| Wang 2017 | CheXNet |" in card  # beside the published figures of the same findings
    sheet = draw_sheet(recipe, package, data=clinic, out=tmp_path / "sheets")
    with Image.open(sheet) as drawn:
        assert drawn.size[0] == 4 * 420


def test_a_class_without_films_is_answered_with_null_until_it_has_some(
    clinic: Path, tmp_path: Path
) -> None:
    names = ("normal", "pneumonia", "tuberculosis")
    sources = [{"task": "pneumonia", "meaning": {"normal": "normal", "pneumonia": "pneumonia"}}]
    untrained = cut_down(
        "triage-plain-cnn", sources=sources, labels=labels_of(*names, untrained=("tuberculosis",))
    )
    package = read_package(made(untrained, clinic, tmp_path / "without"))
    engine = load_onnx_cpu(package)
    outputs = engine.run(np.full((1, 1, SIDE, SIDE), 90, np.uint8))
    assert isinstance(outputs, Outputs)
    answer = {f.label: f for f in find(package.manifest, outputs.logits[0], "balanced")}
    assert answer["tuberculosis"].probability is None
    assert answer["tuberculosis"].positive is None
    # What is answered adds up: an untrained class takes no share of the softmax.
    told = [f.probability for f in answer.values() if f.probability is not None]
    assert sum(told) == pytest.approx(1.0, abs=1e-5)
    assert "answered with null: tuberculosis" in package.card()
    given = cut_down(
        "triage-plain-cnn",
        labels=labels_of(*names),
        sources=[*sources, {"task": "tb", "meaning": {"tuberculosis": "tuberculosis"}}],
    )
    trained = read_package(made(given, clinic, tmp_path / "with"))
    assert trained.manifest.operating_points["balanced"].keys() == {"pneumonia", "tuberculosis"}
    assert "answered with null" not in trained.card()


@pytest.fixture(scope="module")
def outliner(clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """The runs' folder with a trained outliner, and its recipe."""
    runs = tmp_path_factory.mktemp("runs")
    said = read_recipe("lungs-unet").model_dump()
    said["input"]["side"] = SIDE
    said["optimisation"] |= {"films_per_epoch": 64, "phases": [{"side": SIDE, "epochs": 4}]}
    said["precisions"] = ["fp32"]
    return runs, Recipe.model_validate(said)


def test_lungs_are_outlined_and_the_package_is_served(
    clinic: Path, outliner: tuple[Path, Recipe]
) -> None:
    runs, recipe = outliner
    package = read_package(made(recipe, clinic, runs))
    dice = {m.label: m.interval.value for m in package.manifest.metrics if m.name == "dice"}
    assert set(dice) == {"both lungs", "right_lung", "left_lung"}
    assert dice["both lungs"] > 0.8
    masks = load_onnx_cpu(package).run(np.zeros((1, 1, SIDE, SIDE), np.uint8))
    assert isinstance(masks, Masks)
    assert package.manifest.lung_masks == "reach_behind_heart"


def test_shortcuts_are_measured_and_lead_the_card(
    clinic: Path, outliner: tuple[Path, Recipe]
) -> None:
    runs, lungs = outliner
    if not (runs / lungs.name / "best.ckpt").is_file():
        train(lungs, data=clinic, out=runs / lungs.name)
    file = runs / "lungs.yaml"
    file.write_text(yaml.safe_dump(lungs.model_dump(mode="json")), encoding="utf-8")
    recipe = cut_down(
        "tb-mobilenetv2",
        network={
            "architecture": "mobilenetv2",
            "output_stride": 16,
            "lungs_from": str(file),
        },
        shortcuts={"label": "tuberculosis", "outliner": str(file)},
        contrasts=[
            {"name": "pneumonia vs normal", "task": "pneumonia", "positive": ["pneumonia"],
             "negative": ["normal"]}
        ],
    )  # fmt: skip
    package = read_package(made(recipe, clinic, runs))
    named = {m.name: m for m in package.manifest.metrics}
    for name in (
        *("auc_without_lungs", "auc_lesions_against_none", "auc_active_against_latent"),
        *("auc_without_lungs_by_source", "auc_source", "map_peak_in_box"),
    ):
        assert 0 <= named[name].interval.value <= 1, name
    contrasts = [m for m in package.manifest.metrics if m.label == "pneumonia vs normal"]
    assert [(m.split, m.images) for m in contrasts] == [("test, pneumonia", 48)]
    card = package.card()
    assert card.index("Does it know the disease") < card.index("## Limits") < card.index("Mean AUC")


def test_the_quickest_of_the_good_candidates_is_chosen(clinic: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    names = ("normal", "pneumonia")
    sources = [{"task": "pneumonia", "meaning": {"normal": "normal", "pneumonia": "pneumonia"}}]
    files = []
    for name, network in (
        ("small", {"architecture": "mobilenetv2", "width": 0.1}),
        ("large", {"architecture": "efficientnet-lite0"}),
    ):
        recipe = cut_down(
            "triage-plain-cnn",
            name=name,
            network=network,
            labels=labels_of(*names),
            sources=sources,
        )
        train(recipe, data=clinic, out=runs / name)
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
        files.append(str(file))
    wanted = Selection(name="best", version="2.1.0", candidates=tuple(files), tolerance=0.49)
    manifest, candidates = select(wanted, data=clinic, runs=runs, package=tmp_path / "best")
    speed = {one.recipe: one.latency_ms for one in candidates}
    assert [one.recipe for one in candidates if one.chosen] == ["small"]
    assert speed["small"] < speed["large"]
    assert (manifest.name, manifest.version) == ("best", "2.1.0")
    told = json.loads((tmp_path / "best" / SELECTION).read_text("utf-8"))
    assert len(told["candidates"]) == 2
    assert "## Chosen from" in read_package(tmp_path / "best").card()
