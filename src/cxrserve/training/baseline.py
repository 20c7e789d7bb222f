"""How far one gets without looking at the lungs: a linear model of a thumbnail.

A network's figure means little where a 16×16 thumbnail does nearly as well: then the classes
differ in position, collimation or exposure, and part of the figure may come from there.
"""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from cxrserve.training.datasets import Examples
from cxrserve.training.metrics import Floats

SIDE = 16


def thumbnail_scores(train: Examples, test: Examples, *, label: int) -> Floats:
    """Log-odds of a label `[n]` for the test films, by logistic regression on block means.

    Block means of 16×16 fields in -1..1, ridge penalty 1, classes weighted by N / (K · N_c).
    """
    model = LogisticRegression(max_iter=500, class_weight="balanced")
    model.fit(_thumbnails(train), train.targets[:, label] == 1)
    scores: Floats = model.decision_function(_thumbnails(test))
    return scores


def _thumbnails(examples: Examples) -> Floats:
    """float64 `[n, 256]`; what a side not divisible by 16 leaves over is cut off."""
    count, side, _ = examples.pixels.shape
    block = side // SIDE
    whole = examples.pixels[:, : block * SIDE, : block * SIDE]
    means: Floats = whole.reshape(count, SIDE, block, SIDE, block).mean(axis=(2, 4))
    return means.reshape(count, -1) / 127.5 - 1
