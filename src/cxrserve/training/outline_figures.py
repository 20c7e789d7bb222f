"""How well lungs are outlined, and the measurements that are derived from the outline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.models.manifest import Interval, Metric
from cxrserve.training import metrics
from cxrserve.training.datasets import Examples, load_examples, load_lungs
from cxrserve.training.metrics import Floats
from cxrserve.training.networks.build import trained_network
from cxrserve.training.objective import masks_of
from cxrserve.training.plots import draw_dice
from cxrserve.training.recipe import Recipe

DICE = "dice.png"
BOTH = "both lungs"


def evaluate_outliner(
    recipe: Recipe, *, data: Path, run: Path
) -> tuple[tuple[Metric, ...], dict[str, tuple[int, int]]]:
    """Dice and IoU of each lung and of both, and errors of what is derived, on the test split.

    Writes `dice.png` into `run`.

    Returns:
        The figures, and the number of films and patients of each split.
    """
    network = trained_network(recipe, run=run)
    splits = {split: load_examples(data, recipe, split) for split in ("train", "val", "test")}
    test = splits["test"]
    truth = np.asarray(load_lungs(data, test.films, recipe.input) > 127)
    found = np.asarray(masks_of(network, test.pixels) > 0.5)
    draw_dice(metrics.dice(_both(found), _both(truth)), path=run / DICE)
    films = {split: (len(e.films), len(set(e.patients))) for split, e in splits.items()}
    return tuple(_figures(recipe, test, found, truth)), films


def _figures(
    recipe: Recipe, test: Examples, found: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> Iterator[Metric]:
    pairs = {
        BOTH: (_both(found), _both(truth)),
        **{name: (found[:, k], truth[:, k]) for k, name in enumerate(recipe.names)},
    }
    for name, (ours, theirs) in pairs.items():
        dice = metrics.dice(ours, theirs)
        yield _mean(recipe, test, "dice", name, dice)
        yield _mean(recipe, test, "iou", name, dice / (2 - dice))
    ours, theirs = pairs[BOTH]
    areas = np.abs(ours.mean(axis=(1, 2)) / theirs.mean(axis=(1, 2)) - 1)
    yield _mean(recipe, test, "relative_area_error", BOTH, areas)
    widths = np.abs(_thoracic_width(ours) / _thoracic_width(theirs) - 1)
    yield _mean(recipe, test, "relative_thoracic_width_error", BOTH, widths)
    worst = round(float(metrics.dice(ours, theirs).min()), 4)
    yield Metric(
        name="dice_of_the_worst_film",
        label=BOTH,
        split="test",
        images=len(theirs),
        interval=Interval(value=worst, low=worst, high=worst),
    )


def _both(lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(lungs.any(axis=1))


def _thoracic_width(masks: NDArray[np.bool_]) -> Floats:
    """Largest distance between the outer borders of the lungs in one row, in pixels, `[n]`."""
    side = masks.shape[-1]
    first, last = masks.argmax(axis=2), side - 1 - masks[:, :, ::-1].argmax(axis=2)
    widths = np.where(masks.any(axis=2), last - first + 1, 0)
    return np.asarray(widths.max(axis=1), np.float64)


def _mean(recipe: Recipe, test: Examples, name: str, label: str, values: Floats) -> Metric:
    found = metrics.interval(partial(_weighted_mean, values), test.patients, seed=recipe.seed)
    return Metric(name=name, label=label, split="test", images=len(values), interval=found)


def _weighted_mean(values: Floats, weights: Floats) -> float:
    return float(np.average(values, weights=weights))
