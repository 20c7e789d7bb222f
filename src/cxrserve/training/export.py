"""Make a model package of an evaluated run: ONNX graphs, model.yaml, card and plots."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cxrserve
from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Graph, Interval, Manifest, Metric, Provenance
from cxrserve.training import graphs, metrics
from cxrserve.training.card import model_card
from cxrserve.training.datasets import Examples, load_examples
from cxrserve.training.evaluation import (
    ALL,
    METRICS,
    PRECISION,
    RELIABILITY,
    ROC,
    Evaluation,
    read_evaluation,
)
from cxrserve.training.figures import Measured
from cxrserve.training.graphs import outputs_of, sha256_of
from cxrserve.training.networks.build import trained_network
from cxrserve.training.outline_figures import DICE
from cxrserve.training.recipe import Recipe
from cxrserve.training.reference import add_reference, write_manifest

log = logging.getLogger(__name__)

# Bounds of an eight-bit or halved graph against the fp32 one, on the test split.
AUC_BOUND, PROBABILITY_BOUND, DICE_BOUND = 0.005, 0.03, 0.005
_PARITY_FILMS, _CALIBRATION_FILMS = 64, 96


@dataclass(frozen=True, slots=True)
class _Compared:
    """A graph against the fp32 one, on the test split.

    `logit` is the largest difference of a logit (of a mask: of a probability), `probability` the
    99th percentile of the differences of probabilities, `figure` the difference of the mean AUC
    (of a mask: 1 - Dice between the two).
    """

    logit: float
    probability: float
    figure: float

    def keeps_the_bound(self, *, masks: bool) -> bool:
        bound = DICE_BOUND if masks else AUC_BOUND
        return self.probability <= PROBABILITY_BOUND and self.figure <= bound


def export(
    recipe: Recipe,
    *,
    data: Path,
    run: Path,
    package: Path,
    precisions: Sequence[str] = (),
    name: str | None = None,
    version: str | None = None,
    also: Sequence[str] = (),
    preface: str = "",
) -> Manifest:
    """Write the package of a run: `model.yaml`, the graphs, `MODEL_CARD.md`, metrics and plots.

    Eight bits are always made and measured against fp32; the package holds the precisions that the
    recipe names, or those asked for.

    Args:
        package: the folder to write, usually `models/<name>`.
        precisions: to put into the package; none for the recipe's.
        name, version: of the package, where they are not the recipe's.
        also: further files of the run to put into the package.
        preface: Markdown for the card, before the limits.

    Returns:
        What `model.yaml` says.

    Raises:
        UnusableData: the run has not been trained or evaluated.
        BrokenPackage: a graph disagrees with the network by more than 1e-4 in a logit, a map's mean
            and the bias do not sum up to the logit, or a precision for the package misses a bound.
    """
    evaluation = read_evaluation(recipe, run=run)
    network = trained_network(recipe, run=run)
    exact = run / "model.onnx"
    graphs.write_graph(network, exact, side=recipe.input.side)
    held_out, test = (load_examples(data, recipe, split) for split in ("val", "test"))
    parity = graphs.checked_parity(network, exact, held_out.pixels[:_PARITY_FILMS, None])
    log.info("%s: torch and ONNX differ by at most %.1e", recipe.name, parity)
    wanted = tuple(precisions) or recipe.precisions
    made: dict[str, tuple[Path, float]] = {"fp32": (exact, parity)}
    figures: list[Metric] = []
    for precision in ("fp16", "int8"):
        if precision == "fp16" and precision not in wanted:
            continue
        path = run / f"model.{precision}.onnx"
        compared = _made(recipe, exact, path, precision, evaluation, data=data, test=test)
        made[precision] = (path, compared.logit)
        figures += _metrics(precision, compared, len(test.films))
        kept = compared.keeps_the_bound(masks=recipe.task == "segmentation")
        if precision in wanted and not kept:
            raise BrokenPackage(
                f"{recipe.name} in {precision} is off by {compared}",
                advice=f"leave {precision} out of the recipe's precisions",
            )
    package.mkdir(parents=True, exist_ok=True)
    for left_over in package.glob("*.onnx"):
        left_over.unlink()
    for precision in wanted:
        shutil.copyfile(made[precision][0], package / made[precision][0].name)
    evaluation = evaluation.model_copy(update={"metrics": (*evaluation.metrics, *figures)})
    (package / METRICS).write_text(evaluation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    recipe = recipe.model_copy(
        update={"name": name or recipe.name, "version": version or recipe.version}
    )
    others = (*_plots(recipe), *also)
    for file in others:
        shutil.copyfile(run / file, package / file)
    card = model_card(recipe, evaluation, preface=preface)
    (package / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    listed = tuple(
        Graph(
            file=made[precision][0].name,
            precision=precision,
            sha256=sha256_of(package / made[precision][0].name),
            parity=float(f"{made[precision][1]:.2g}"),
        )
        for precision in wanted
    )
    manifest = _manifest(recipe, evaluation, package, listed, files=others)
    write_manifest(manifest, package)
    if recipe.task == "segmentation":
        return manifest
    films = [data / film.file for film in held_out.films]
    return add_reference(package, films, films="val").manifest


def _made(
    recipe: Recipe,
    exact: Path,
    path: Path,
    precision: str,
    evaluation: Evaluation,
    *,
    data: Path,
    test: Examples,
) -> _Compared:
    """Make a graph of lesser precision; in eight bits, as many convolutions as the bounds allow."""
    compare = partial(_compared, recipe, exact, evaluation=evaluation, test=test)
    masks = recipe.task == "segmentation"
    if precision == "fp16":
        graphs.write_halved(exact, path)
        return compare(path)
    train = load_examples(data, recipe, "train")
    step = max(1, len(train.pixels) // _CALIBRATION_FILMS)
    films = train.pixels[::step, None]
    for left_exact in graphs.steps_of_exactness(exact):
        graphs.write_int8(exact, path, films, exact_convolutions=left_exact)
        compared = compare(path)
        log.info("%s: int8 with %d exact convolutions: %s", recipe.name, left_exact, compared)
        if compared.keeps_the_bound(masks=masks):
            return compared
    return compared


def _compared(
    recipe: Recipe, exact: Path, path: Path, *, evaluation: Evaluation, test: Examples
) -> _Compared:
    pixels = test.pixels[:, None]
    if recipe.task == "segmentation":
        (ours,), (theirs,) = (outputs_of(graph, pixels, ["mask"]) for graph in (path, exact))
        difference = np.abs(ours - theirs)
        same = metrics.dice(np.asarray(ours > 0.5), np.asarray(theirs > 0.5)).mean()
        return _Compared(
            float(difference.max()), float(np.quantile(difference, 0.99)), float(1 - same)
        )
    ours, theirs = (outputs_of(graph, pixels, ["logits"])[0] for graph in (path, exact))

    def probability(logits: NDArray[np.float32]) -> metrics.Floats:
        measured = Measured(recipe, test, logits, evaluation.calibration)
        return np.asarray(measured.probability[:, list(recipe.findings)])

    difference = np.abs(probability(ours) - probability(theirs))
    aucs = [metrics.mean_auc(recipe, test.targets, logits) for logits in (ours, theirs)]
    return _Compared(
        float(np.abs(ours - theirs).max()),
        float(np.quantile(difference, 0.99)),
        abs(aucs[0] - aucs[1]),
    )


def _metrics(precision: str, compared: _Compared, images: int) -> list[Metric]:
    named = {
        f"{precision}_probability_difference_p99": compared.probability,
        f"{precision}_figure_difference": compared.figure,
    }
    return [
        Metric(
            name=name, label=ALL, split="test", images=images,
            interval=Interval(value=round(value, 5), low=round(value, 5), high=round(value, 5)),
        )
        for name, value in named.items()
    ]  # fmt: skip


def _plots(recipe: Recipe) -> tuple[str, ...]:
    return (DICE,) if recipe.task == "segmentation" else (ROC, PRECISION, RELIABILITY)


def _manifest(
    recipe: Recipe,
    evaluation: Evaluation,
    package: Path,
    listed: tuple[Graph, ...],
    *,
    files: Sequence[str],
) -> Manifest:
    words = recipe.words
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        task=recipe.task,
        description=words.description,
        labels=recipe.labels,
        input=recipe.input,
        activation="softmax" if recipe.task == "multi-class" else "sigmoid",
        calibration=evaluation.calibration,
        operating_points=evaluation.operating_points,
        default_operating_point=recipe.default_operating_point,
        age_bands=words.age_bands,
        lung_masks=recipe.lung_masks,
        graphs=listed,
        files={name: sha256_of(package / name) for name in ("MODEL_CARD.md", METRICS, *files)},
        metrics=evaluation.metrics,
        provenance=Provenance(
            data=words.data,
            population=words.population,
            data_manifest_sha256=evaluation.data_manifest_sha256,
            recipe_sha256=evaluation.recipe_sha256,
            code_version=cxrserve.__version__,
            seed=recipe.seed,
        ),
        licence=words.licence,
        intended_use=words.intended_use,
        limitations=words.limitations,
    )
