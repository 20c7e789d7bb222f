"""The two plots of a model package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from cxrserve.training.metrics import Floats, Truth, auc, calibration_error, share


def draw_roc(
    truth: Truth, probability: Floats, thresholds: Mapping[str, float], *, path: Path
) -> None:
    """The ROC curve on the test split with the operating points on it, as a PNG."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    false_alarms, sensitivity, _ = roc_curve(truth, probability)
    axes.plot(false_alarms, sensitivity, color="black", label=f"AUC {auc(truth, probability):.3f}")
    for marker, (name, threshold) in zip("osD^v", thresholds.items(), strict=False):
        positive = probability >= threshold
        axes.plot(share(positive, ~truth), share(positive, truth), marker, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="Test split")
    axes.legend(loc="lower right")
    _save(figure, path)


def draw_reliability(truth: Truth, raw: Floats, calibrated: Floats, *, path: Path) -> None:
    """Share of ill films against mean probability in ten bins, before and after calibration."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for name, probability, style in (("before", raw, "o--"), ("after", calibrated, "s-")):
        which = np.minimum((probability * 10).astype(int), 9)
        filled = [which == number for number in np.unique(which)]
        axes.plot(
            [probability[films].mean() for films in filled],
            [truth[films].mean() for films in filled],
            style,
            label=f"{name} calibration, ECE {calibration_error(truth, probability):.3f}",
        )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="probability", ylabel="share with the finding", title="Test split")
    axes.legend(loc="upper left")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # The Agg canvas needs no display and, unlike pyplot, keeps no global state.
    FigureCanvasAgg(figure)
    figure.savefig(path, metadata={"Software": None})
