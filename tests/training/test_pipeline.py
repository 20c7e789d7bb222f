"""train → evaluate → export on a made-up hospital: a package that keeps the graph contract."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from cxrserve.errors import BrokenPackage
from cxrserve.findings.interpret import probabilities
from cxrserve.models.manifest import Manifest
from cxrserve.training import command_line, commands
from cxrserve.training import train as training
from cxrserve.training.datasets import UnusableData, load_examples
from cxrserve.training.evaluate import evaluate
from cxrserve.training.export import export
from cxrserve.training.graphs import checked_parity
from cxrserve.training.networks.build import new_network, trained_classifier
from cxrserve.training.objective import Classification
from cxrserve.training.recipe import RECIPES, Recipe, UnusableRecipe, read_recipe
from cxrserve.training.train import LAST, train


@dataclass(frozen=True)
class Made:
    """One pass through the real pipeline."""

    data: Path
    run: Path
    package: Path
    manifest: Manifest


@pytest.fixture(scope="module")
def made(small_recipe: Recipe, hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    run, package = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("package")
    train(small_recipe, data=hospital, out=run)
    evaluate(small_recipe, data=hospital, run=run)
    manifest = export(small_recipe, data=hospital, run=run, package=package)
    return Made(hospital, run, package, manifest)


@pytest.fixture(scope="module")
def session(made: Made) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        made.package / "model.onnx", providers=["CPUExecutionProvider"]
    )


def test_the_graph_takes_uint8_in_any_batch(session: onnxruntime.InferenceSession) -> None:
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [1, 64, 64])
    assert [output.name for output in session.get_outputs()] == ["logits", "cam"]
    image = np.random.default_rng(5).integers(0, 256, (1, 1, 64, 64), np.uint8)
    alone = session.run(None, {"pixels": image})[0]
    for batch in (1, 2, 7):
        logits, cam = session.run(None, {"pixels": np.repeat(image, batch, axis=0)})
        assert logits.dtype == cam.dtype == np.float32
        assert logits.shape == (batch, 2)
        assert cam.shape == (batch, 2, 2, 2)
        np.testing.assert_allclose(logits, np.repeat(alone, batch, axis=0), atol=1e-5)


def test_the_maps_mean_and_the_bias_are_the_logit(
    made: Made, small_recipe: Recipe, session: onnxruntime.InferenceSession
) -> None:
    bias = trained_classifier(small_recipe, run=made.run).head.bias.detach().numpy()
    images = np.random.default_rng(6).integers(0, 256, (5, 1, 64, 64), np.uint8)
    logits, cam = session.run(None, {"pixels": images})
    np.testing.assert_allclose(cam.mean(axis=(2, 3)) + bias, logits, atol=1e-4)


def test_the_graph_tells_nothing_about_the_machine_it_was_made_on(made: Made) -> None:
    graph = (made.package / "model.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in graph
    onnx.checker.check_model(onnx.load_model_from_string(graph), full_check=True)


def test_the_manifest_agrees_with_the_files(made: Made) -> None:
    text = (made.package / "model.yaml").read_text(encoding="utf-8")
    manifest = Manifest.model_validate(yaml.safe_load(text))
    assert manifest == made.manifest
    named = {**{graph.file: graph.sha256 for graph in manifest.graphs}, **manifest.files}
    assert set(named) | {"model.yaml"} == {file.name for file in made.package.iterdir()}
    for name, digest in named.items():
        assert hashlib.sha256((made.package / name).read_bytes()).hexdigest() == digest
    assert {"screening", "balanced", "rule_in"} == set(manifest.operating_points)
    points = [
        manifest.operating_points[p]["pneumonia"] for p in ("screening", "balanced", "rule_in")
    ]
    assert points == sorted(points)


def test_adults_of_another_source_are_counted(made: Made) -> None:
    (elsewhere,) = (m for m in made.manifest.metrics if m.name == "called_positive")
    assert elsewhere.images == 4
    assert 0 <= elsewhere.interval.value <= 1


def test_the_package_says_how_its_probabilities_lie_on_the_films_held_out(
    made: Made, small_recipe: Recipe, session: onnxruntime.InferenceSession
) -> None:
    reference = made.manifest.reference
    assert reference is not None
    assert (reference.films, reference.images) == ("val", 32)
    films = load_examples(made.data, small_recipe, "val").pixels[:, None]
    (logits,) = session.run(["logits"], {"pixels": films})
    ill = probabilities(logits, "softmax", made.manifest.calibration)[:, 1]
    said = reference.labels["pneumonia"]
    assert said.mean == pytest.approx(ill.mean(), abs=1e-5)
    threshold = made.manifest.operating_points["balanced"]["pneumonia"]
    assert said.positive_rate == pytest.approx((ill >= threshold).mean(), abs=1 / 32)
    assert said.shares == (1.0,), "32 films are too few for two bins"


def test_a_graph_of_another_network_is_refused(made: Made, small_recipe: Recipe) -> None:
    images = np.full((2, 1, 64, 64), 90, np.uint8)
    network = trained_classifier(small_recipe, run=made.run)
    with torch.no_grad():
        network.head.weight.add_(0.05)
    with pytest.raises(BrokenPackage, match="logits of torch and ONNX differ"):
        checked_parity(network, made.package / "model.onnx", images)
    network = trained_classifier(small_recipe, run=made.run)
    with torch.no_grad():
        network.head.bias.add_(0.01)
    with pytest.raises(BrokenPackage, match=r"mean\(cam\) \+ bias and logit differ"):
        checked_parity(network, made.package / "model.onnx", images)


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    small_recipe: Recipe, hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = small_recipe.model_dump()
    said["optimisation"]["phases"] = [{"side": 64, "epochs": 2}]
    recipe = Recipe.model_validate(said)
    train(recipe, data=hospital, out=tmp_path / "unbroken")
    saved = training._save

    def killed_after_saving(*args: Any, **kwargs: Any) -> None:
        saved(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(training, "_save", killed_after_saving)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, data=hospital, out=tmp_path / "broken")
    train(recipe, data=hospital, out=tmp_path / "broken")
    one, other = (
        torch.load(tmp_path / run / LAST, weights_only=True)["network"]
        for run in ("unbroken", "broken")
    )
    for name, weights in one.items():
        torch.testing.assert_close(weights, other[name])


def test_a_run_of_another_recipe_is_refused(made: Made, small_recipe: Recipe) -> None:
    other = small_recipe.model_copy(update={"seed": 1})
    with pytest.raises(UnusableData, match="another recipe"):
        train(other, data=made.data, out=made.run)


def test_an_unknown_recipe_says_which_there_are() -> None:
    with pytest.raises(UnusableRecipe) as caught:
        read_recipe("no-such-model")
    assert "tb-mobilenetv2" in caught.value.advice


def test_a_recipe_that_would_never_see_the_serving_side_is_refused(small_recipe: Recipe) -> None:
    said = small_recipe.model_dump()
    said["optimisation"]["phases"] = [{"side": 32, "epochs": 1}]
    with pytest.raises(ValidationError, match="last phase"):
        Recipe.model_validate(said)


def test_every_recipe_of_the_package_can_be_read() -> None:
    names = [path.stem for path in RECIPES.glob("*.yaml")]
    assert [read_recipe(name).name for name in names] == names


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = typer.Typer()
    commands.register(app)
    monkeypatch.setattr(command_line, "find_spec", lambda name: None if name == "torch" else name)
    done = CliRunner().invoke(app, ["train", "--recipe", "x", "--data", "nowhere"])
    assert done.exit_code == 1
    assert "cxrserve[train]" in done.stderr
    assert "torch" in done.stderr


def test_a_label_drawn_three_times_as_often_counts_a_third_as_much(
    small_recipe: Recipe, hospital: Path, tmp_path: Path
) -> None:
    said = small_recipe.model_dump()
    said["optimisation"] |= {"films_per_epoch": 4000, "draw": {"pneumonia": 3}}
    recipe = Recipe.model_validate(said)
    train_films, held_out = (load_examples(hospital, recipe, split) for split in ("train", "val"))
    objective = Classification(
        recipe,
        data=hospital,
        runs=tmp_path,
        train=train_films,
        held_out=held_out,
        network=new_network(recipe, data=hospital, runs=tmp_path),
    )
    drawn = objective.order(torch.Generator().manual_seed(0)).numpy()
    assert train_films.targets[drawn].mean(axis=0) == pytest.approx([0.25, 0.75], abs=0.03)
    weights = objective._weights.numpy()
    assert weights[0] == pytest.approx(3 * weights[1])
    said["optimisation"] |= {"draw": {"influenza": 2}}
    with pytest.raises(ValidationError, match="draw names unknown labels"):
        Recipe.model_validate(said)
