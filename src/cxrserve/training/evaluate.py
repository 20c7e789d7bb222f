"""Measure a trained network: calibrate and choose thresholds on `val`, report on `test`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from cxrserve.models.manifest import Interval, Metric
from cxrserve.training import metrics
from cxrserve.training.baseline import thumbnail_scores
from cxrserve.training.datasets import (
    Examples,
    Film,
    UnusableData,
    load_examples,
    load_pixels,
    read_manifest,
)
from cxrserve.training.mobilenetv2 import MobileNetV2
from cxrserve.training.plots import draw_reliability, draw_roc
from cxrserve.training.recipe import OutOfSource, Recipe
from cxrserve.training.train import logits_of, trained_network

METRICS, ROC, RELIABILITY = "metrics.json", "roc.png", "reliability.png"


class Evaluation(BaseModel):
    """What `metrics.json` holds. `films` counts films and patients of each split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe_sha256: str
    data_manifest_sha256: str
    temperature: float
    operating_points: dict[str, dict[str, float]]
    films: dict[str, tuple[int, int]]
    metrics: tuple[Metric, ...]

    def figure(self, name: str, *, split: str = "test", point: str | None = None) -> Metric:
        """The one metric of this name, split and operating point."""
        (found,) = (
            metric
            for metric in self.metrics
            if (metric.name, metric.split, metric.operating_point) == (name, split, point)
        )
        return found


def evaluate(recipe: Recipe, *, data: Path, run: Path) -> Evaluation:
    """Evaluate the best checkpoint of a run.

    Temperature and thresholds come from the validation split, every figure from the test split or
    from another source. Writes `metrics.json`, `roc.png` and `reliability.png` into `run`.

    Raises:
        UnusableData: no checkpoint, or data that cannot be evaluated on.
    """
    network = trained_network(recipe, run=run)
    films = read_manifest(data, task=recipe.dataset)
    names = [label.name for label in recipe.labels]
    splits = {
        split: load_examples(data, films, split, labels=names, how=recipe.input)
        for split in ("train", "val", "test")
    }
    logits = {split: logits_of(network, splits[split].pixels) for split in ("val", "test")}
    temperature = round(metrics.fitted_temperature(logits["val"], splits["val"].targets), 4)
    calibrated = {
        split: metrics.probabilities(values, temperature)[:, recipe.finding]
        for split, values in logits.items()
    }
    raw = metrics.probabilities(logits["test"], 1.0)[:, recipe.finding]
    truth = {split: e.targets == recipe.finding for split, e in splits.items()}
    thresholds = {
        name: round(metrics.threshold_of(point, truth["val"], calibrated["val"]), 6)
        for name, point in recipe.operating_points.items()
    }
    evaluation = Evaluation(
        recipe_sha256=recipe.sha256,
        data_manifest_sha256=hashlib.sha256((data / "manifest.csv").read_bytes()).hexdigest(),
        temperature=temperature,
        operating_points={
            point: {names[recipe.finding]: threshold} for point, threshold in thresholds.items()
        },
        films={split: (len(e.targets), len(set(e.patients))) for split, e in splits.items()},
        metrics=(
            *_on_test(recipe, splits["test"], raw, calibrated["test"], thresholds),
            _thumbnail(recipe, splits["train"], splits["test"]),
            *_elsewhere(recipe, data, network, temperature, thresholds),
        ),
    )
    draw_roc(truth["test"], calibrated["test"], thresholds, path=run / ROC)
    draw_reliability(truth["test"], raw, calibrated["test"], path=run / RELIABILITY)
    (run / METRICS).write_text(evaluation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return evaluation


def read_evaluation(recipe: Recipe, *, run: Path) -> Evaluation:
    """The evaluation that a run holds.

    Raises:
        UnusableData: there is none, or it is of another recipe.
    """
    path = run / METRICS
    if not path.is_file():
        raise UnusableData("the run has no metrics.json", advice="evaluate it first")
    evaluation = Evaluation.model_validate_json(path.read_bytes())
    if evaluation.recipe_sha256 != recipe.sha256:
        raise UnusableData("metrics.json is of another recipe", advice="evaluate it again")
    return evaluation


def _on_test(
    recipe: Recipe,
    examples: Examples,
    raw: metrics.Floats,
    calibrated: metrics.Floats,
    thresholds: dict[str, float],
) -> Iterator[Metric]:
    truth = examples.targets == recipe.finding

    def measured(name: str, figure: Interval, point: str | None = None) -> Metric:
        return Metric(
            name=name,
            label=recipe.labels[recipe.finding].name,
            split="test",
            interval=figure,
            images=len(truth),
            operating_point=point,
        )

    def drawn(statistic: metrics.Statistic) -> Interval:
        return metrics.interval(statistic, examples.patients, seed=recipe.seed)

    def shared(chosen: metrics.Truth, among: metrics.Truth) -> Interval:
        return metrics.interval_of_share(chosen, among, examples.patients, seed=recipe.seed)

    yield measured("auc", drawn(partial(metrics.auc, truth, calibrated)))
    for point, threshold in thresholds.items():
        positive = calibrated >= threshold
        yield measured("sensitivity", shared(positive, truth), point)
        yield measured("specificity", shared(~positive, ~truth), point)
    yield measured("ece_uncalibrated", drawn(partial(metrics.calibration_error, truth, raw)))
    yield measured("ece", drawn(partial(metrics.calibration_error, truth, calibrated)))


def _thumbnail(recipe: Recipe, train: Examples, test: Examples) -> Metric:
    """The AUC of a linear model of thumbnails, which the network's has to be read against."""
    scores = thumbnail_scores(train, test, finding=recipe.finding)
    return Metric(
        name="auc_of_a_thumbnail",
        label=recipe.labels[recipe.finding].name,
        split="test",
        interval=metrics.interval(
            partial(metrics.auc, test.targets == recipe.finding, scores),
            test.patients,
            seed=recipe.seed,
        ),
        images=len(test.targets),
    )


def _elsewhere(
    recipe: Recipe,
    data: Path,
    network: MobileNetV2,
    temperature: float,
    thresholds: dict[str, float],
) -> Iterator[Metric]:
    """What share of films of another source, without a finding, is called positive."""
    threshold = thresholds[recipe.default_operating_point]
    for source in recipe.out_of_source:
        films = [film for film in read_manifest(data, task=source.task) if _wanted(film, source)]
        if not films:
            raise UnusableData(f"no film for {source.name!r}")
        logits = logits_of(network, load_pixels(data, films, recipe.input))
        positive = metrics.probabilities(logits, temperature)[:, recipe.finding] >= threshold
        everyone = np.ones(len(films), np.bool_)
        yield Metric(
            name="called_positive",
            label=recipe.labels[recipe.finding].name,
            split=f"{source.name} ({source.task}, {source.split})",
            interval=metrics.interval_of_share(
                positive, everyone, [film.patient for film in films], seed=recipe.seed
            ),
            images=len(films),
            operating_point=recipe.default_operating_point,
        )


def _wanted(film: Film, source: OutOfSource) -> bool:
    old_enough = film.age_years is not None and film.age_years >= source.youngest_years
    return film.split == source.split and not film.labels and old_enough
