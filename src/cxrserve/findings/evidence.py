"""Local evidence: what a class map says of each place, and how it is read between its cells."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs

Map = NDArray[np.float32]


def evidence_of(outputs: Outputs, index: int, activation: Literal["softmax", "sigmoid"]) -> Map:
    """Log-odds of one label at each place: what they were if the whole film looked like this place.

    With a sigmoid that is the class map plus its bias. A softmax knows only differences, so it is
    the label's logit against the log-sum-exp of all others; for two labels the mean of this map
    still is the log-odds of the whole film.

    Args:
        outputs: of one image.
        index: which label.
        activation: of the package.

    Returns:
        float32 `[h, w]`.
    """
    local = outputs.cam[0] + outputs.bias[:, None, None]
    if activation == "sigmoid":
        return np.asarray(local[index], np.float32)
    others = np.delete(local, index, axis=0)
    if not len(others):
        return np.zeros(local.shape[1:], np.float32)
    highest = others.max(axis=0)
    against = highest + np.log(np.exp(others - highest).sum(axis=0))
    return np.asarray(local[index] - against, np.float32)


def upsampled(grid: Map, side: int) -> Map:
    """A map at the side of the network's square: float32 `[h, w]` to `[side, side]`, bilinear."""
    centres = np.arange(side, dtype=np.float64) + 0.5
    return sampled(grid, centres, centres, side)


def sampled(grid: Map, xs: NDArray[np.float64], ys: NDArray[np.float64], side: int) -> Map:
    """A map between its cells' centres, bilinear; beyond the outermost ones, their value.

    Args:
        grid: float32 `[h, w]`, which covers the network's square.
        xs, ys: columns and rows, as places in the square (0..side).
        side: of the square.

    Returns:
        float32 `[len(ys), len(xs)]`.
    """
    height, width = grid.shape
    down = _weights(ys * (height / side), height)
    across = _weights(xs * (width / side), width)
    return np.asarray(down @ grid @ across.T, np.float32)


def _weights(places: NDArray[np.float64], cells: int) -> Map:
    """How much each of `cells` counts at each place: float32 `[len(places), cells]`."""
    between = np.clip(places - 0.5, 0, cells - 1)
    distance = np.abs(between[:, None] - np.arange(cells)[None, :])
    return np.asarray(np.clip(1 - distance, 0, 1), np.float32)
