"""Measure a trained network: calibrate and choose thresholds on `val`, report on `test`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cxrserve.models.manifest import Calibration, Interval, Metric
from cxrserve.training import calibrate
from cxrserve.training.datasets import (
    Examples,
    Film,
    UnusableData,
    load_examples,
    load_pixels,
    manifest_sha256,
    read_manifest,
)
from cxrserve.training.evaluation import ALL, METRICS, PRECISION, RELIABILITY, ROC, Evaluation
from cxrserve.training.figures import (
    Measured,
    Thresholds,
    called_positive,
    chosen_thresholds,
    contrast,
    figures,
    groups,
    thumbnail,
)
from cxrserve.training.localisation import box_figures, grad_cam_difference
from cxrserve.training.networks.build import trained_classifier
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.objective import logits_of
from cxrserve.training.outline_figures import evaluate_outliner
from cxrserve.training.plots import draw_precision_recall, draw_reliability, draw_roc
from cxrserve.training.recipe import OutOfSource, Recipe
from cxrserve.training.shortcuts import shortcut_figures

_GRAD_CAM_FILMS = 8
_ENOUGH_BOXES = 20


def evaluate(recipe: Recipe, *, data: Path, run: Path) -> Evaluation:
    """Evaluate the best checkpoint of a run.

    Calibration and thresholds come from the validation split, every figure from the test split or
    from another source. Writes `metrics.json` and the plots into `run`.

    Raises:
        UnusableData: no checkpoint, or data that cannot be evaluated on.
    """
    if recipe.task == "segmentation":
        metrics, films = evaluate_outliner(recipe, data=data, run=run)
        return _written(recipe, data, run, metrics=metrics, films=films)
    network = trained_classifier(recipe, run=run)
    splits = {split: load_examples(data, recipe, split) for split in ("train", "val", "test")}
    held_out = logits_of(network, splits["val"].pixels)
    calibration = calibrate.fitted(recipe, held_out, splits["val"].targets)
    thresholds = chosen_thresholds(Measured(recipe, splits["val"], held_out, calibration))
    measured = Measured(
        recipe, splits["test"], logits_of(network, splits["test"].pixels), calibration
    )
    metrics = (
        *_shortcuts(recipe, network, data, run.parent, splits),
        *figures(measured, thresholds),
        *(contrast(measured, wanted) for wanted in recipe.contrasts),
        thumbnail(measured, splits["train"]),
        *groups(measured),
        *_elsewhere(recipe, data, network, calibration, thresholds),
        *_boxes(recipe, network, splits),
        _grad_cam(recipe, network, splits["test"]),
    )
    draw_roc(measured, thresholds, path=run / ROC)
    draw_precision_recall(measured, path=run / PRECISION)
    draw_reliability(measured, path=run / RELIABILITY)
    return _written(
        recipe, data, run, metrics=metrics, calibration=calibration, thresholds=thresholds,
        films={split: (len(e.films), len(set(e.patients))) for split, e in splits.items()},
    )  # fmt: skip


def _written(
    recipe: Recipe,
    data: Path,
    run: Path,
    *,
    metrics: tuple[Metric, ...],
    films: dict[str, tuple[int, int]],
    calibration: Calibration | None = None,
    thresholds: Thresholds | None = None,
) -> Evaluation:
    evaluation = Evaluation(
        recipe_sha256=recipe.sha256,
        data_manifest_sha256=manifest_sha256(data),
        calibration=calibration or Calibration(),
        operating_points=thresholds or {},
        films=films,
        metrics=metrics,
    )
    (run / METRICS).write_text(evaluation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return evaluation


def _shortcuts(
    recipe: Recipe, network: Classifier, data: Path, runs: Path, splits: dict[str, Examples]
) -> Iterator[Metric]:
    if recipe.shortcuts is not None:
        yield from shortcut_figures(
            recipe, network, data=data, runs=runs, train=splits["train"], test=splits["test"]
        )


def _boxes(recipe: Recipe, network: Classifier, splits: dict[str, Examples]) -> Iterator[Metric]:
    """On the test split; where few of its films have boxes, and none was trained on, on all."""
    test = splits["test"]
    boxed = sum(bool(film.boxes) for film in test.films)
    if recipe.loss.attention_label is not None or boxed >= _ENOUGH_BOXES:
        yield from box_figures(recipe, network, test, "test")
        return
    together = Examples(
        pixels=np.concatenate([e.pixels for e in splits.values()]),
        targets=np.concatenate([e.targets for e in splits.values()]),
        films=tuple(film for e in splits.values() for film in e.films),
    )
    yield from box_figures(recipe, network, together, "all splits")


def _grad_cam(recipe: Recipe, network: Classifier, test: Examples) -> Metric:
    """The map against real Grad-CAM of the same films; they are the same up to rounding."""
    films = test.pixels[:_GRAD_CAM_FILMS]
    worst = max(grad_cam_difference(network, films, label) for label in recipe.findings)
    return Metric(
        name="grad_cam_difference",
        label=ALL,
        split="test",
        images=len(films),
        interval=Interval(value=worst, low=worst, high=worst),
    )


def _elsewhere(
    recipe: Recipe,
    data: Path,
    network: Classifier,
    calibration: Calibration,
    thresholds: Thresholds,
) -> Iterator[Metric]:
    for source in recipe.out_of_source:
        films = [film for film in read_manifest(data, task=source.task) if _wanted(film, source)]
        if not films:
            raise UnusableData(f"no film for {source.name!r}")
        pixels = load_pixels(data, films, recipe.input)
        examples = Examples(
            pixels=pixels,
            targets=np.full((len(films), len(recipe.labels)), np.nan, np.float32),
            films=tuple(films),
        )
        seen = Measured(recipe, examples, logits_of(network, pixels), calibration)
        name = f"{source.name} ({source.task}, {source.split})"
        yield called_positive(recipe, seen.probability, films, thresholds, name=name)


def _wanted(film: Film, source: OutOfSource) -> bool:
    old_enough = film.age_years is not None and film.age_years >= source.youngest_years
    return film.split == source.split and not film.labels and old_enough
