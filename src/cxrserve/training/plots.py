"""The plots of a model package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from cxrserve.training import metrics
from cxrserve.training.metrics import Floats, Truth

if TYPE_CHECKING:
    from cxrserve.training.figures import Measured, Thresholds

_DPI = 80


def draw_roc(measured: Measured, thresholds: Thresholds, *, path: Path) -> None:
    """The ROC curve of each finding on the test split; a single one has its operating points."""
    figure, axes = _square("1 - specificity", "sensitivity")
    curves = list(_curves(measured))
    for name, truth, p in curves:
        false_alarms, sensitivity, _ = roc_curve(truth, p)
        axes.plot(false_alarms, sensitivity, label=f"{name} {metrics.auc(truth, p):.3f}")
    if len(curves) == 1:
        name, truth, p = curves[0]
        for marker, (point, of_label) in zip("osD^v", thresholds.items(), strict=False):
            positive = p >= of_label[name]
            axes.plot(
                metrics.share(positive, ~truth), metrics.share(positive, truth), marker, label=point
            )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.legend(loc="lower right", fontsize=7)
    _save(figure, path)


def draw_precision_recall(measured: Measured, *, path: Path) -> None:
    """The precision-recall curve of each finding on the test split, with its share of films."""
    figure, axes = _square("recall (sensitivity)", "precision")
    for name, truth, p in _curves(measured):
        precision, recall, _ = precision_recall_curve(truth, p)
        found = metrics.average_precision(truth, p)
        axes.plot(recall, precision, label=f"{name} {found:.3f} (share {truth.mean():.3f})")
    axes.legend(loc="best", fontsize=7)
    _save(figure, path)


def draw_reliability(measured: Measured, *, path: Path) -> None:
    """Share of films with a finding against mean probability in ten bins, all findings together."""
    figure, axes = _square("probability", "share with the finding")
    labels = [measured.recipe.names.index(name) for name, _, _ in _curves(measured)]
    truth = np.concatenate([measured.truth(label) for label in labels])
    for name, values, style in (
        ("before", measured.uncalibrated, "o--"),
        ("after", measured.probability, "s-"),
    ):
        p = np.concatenate([values[:, label] for label in labels])
        which = np.minimum((p * 10).astype(int), 9)
        filled = [which == number for number in np.unique(which)]
        axes.plot(
            [p[films].mean() for films in filled],
            [truth[films].mean() for films in filled],
            style,
            label=f"{name} calibration, ECE {metrics.calibration_error(truth, p):.3f}",
        )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.legend(loc="upper left", fontsize=8)
    _save(figure, path)


def draw_dice(dice: Floats, *, path: Path) -> None:
    """Dice of both lungs of each test film, worst first."""
    figure, axes = _square("film of the test split, worst first", "Dice, both lungs")
    axes.bar(np.arange(len(dice)), np.sort(dice), color="grey")
    axes.axhline(float(dice.mean()), color="black", label=f"mean {dice.mean():.3f}")
    axes.legend(loc="lower right")
    _save(figure, path)


def _curves(measured: Measured) -> Iterator[tuple[str, Truth, Floats]]:
    for label in measured.recipe.findings:
        truth = measured.truth(label)
        if truth.any() and not truth.all():
            yield measured.recipe.names[label], truth, measured.probability[:, label]


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 5), layout="constrained", dpi=_DPI)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, title="Test split")
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    # The Agg canvas needs no display and, unlike pyplot, keeps no global state.
    FigureCanvasAgg(figure)
    figure.savefig(path, metadata={"Software": None})
