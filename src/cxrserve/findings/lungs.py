"""Lung masks: areas, where they lie, the cardiothoracic ratio, and where a box may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Masks
from cxrserve.findings.parts import Mask, largest_part
from cxrserve.models.preprocess import Placement

RIGHT_LUNG, LEFT_LUNG = "right_lung", "left_lung"
# Part of the network's square below which a lung counts as missing: a fifth of the smallest of the
# 160 lungs that readers outlined on the 80 films of the `lungs` data (0.096).
LEAST_SHARE = 0.02
# Mean probability inside a mask from which a lung counts as confidently found.
_CONFIDENT = 0.9
_INSIDE = 0.5
# Part of its widest row that a lung must have left in a row that the heart is measured in. Lower
# down only the costophrenic recess is left, and the gap is abdomen. The left lung gets less
# because a large heart takes its place, which is what is to be measured.
_RIGHT_LEFT_OVER, _LEFT_LEFT_OVER = 0.5, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of the image a mask covers, in pixels of the image, and the box around it."""

    share: float
    pixels: float
    left: float
    top: float
    width: float
    height: float


def organ(probabilities: NDArray[np.float32]) -> Mask:
    """A mask of one organ: where its probability `[h, w]` is at least 0.5, without stray pieces."""
    return largest_part(np.asarray(probabilities >= _INSIDE))


def extent(mask: Mask, where: Placement) -> Extent | None:
    """What a mask covers of the image that was sent; what lies in a pad's border is not counted.

    Args:
        mask: bool `[h, w]`, which covers the network's square.
        where: how the image lies in that square.

    Returns:
        None where the mask covers nothing of the image.
    """
    height, width = mask.shape
    xs, ys = _edges_in_image(width, height, where)
    pixels = float(np.diff(ys) @ mask @ np.diff(xs))
    if pixels <= 0:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, right = float(xs[columns[0]]), float(xs[columns[-1] + 1])
    top, bottom = float(ys[rows[0]]), float(ys[rows[-1] + 1])
    return Extent(
        share=pixels / (where.width * where.height),
        pixels=pixels,
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
    )


def area_cm2(pixels: float, spacing_mm: tuple[float, float]) -> float:
    """Area at the detector: `pixels` of the image times row and column spacing in mm.

    A shadow is larger than what casts it. The area of a plane 15 cm before the detector, with the
    tube 180 cm away, appears (180 / 165)² = 1.19 times as large; no film says how far that was.
    """
    return pixels * spacing_mm[0] * spacing_mm[1] / 100


def cardiothoracic_ratio(right: Mask, left: Mask) -> float | None:
    """Estimate of heart width over thoracic width from masks that end at the heart.

    Thoracic width is the largest distance, in one row, between the outer borders of both lungs.
    Cardiac width is the largest gap, in one row, between their inner borders, in the lower half of
    the lungs' height. Rows count where both lungs are; for the gap, only where the right lung has
    half of its largest width left, and the left lung a quarter: below, the gap is abdomen.

    On paper the two halves of the heart are measured from the midline, each where it is widest
    (Danzer 1919), so this estimate is the same or smaller.

    Args:
        right, left: bool `[h, w]` of the patient's right and left lung, each in one piece.

    Returns:
        0..1; None where a lung is missing (under `LEAST_SHARE` of the square), or no row counts.
    """
    if min(right.mean(), left.mean()) < LEAST_SHARE:
        return None
    rows = np.flatnonzero((right | left).any(axis=1))
    lower = np.arange(len(right)) >= (rows[0] + rows[-1] + 1) / 2
    both = right.any(axis=1) & left.any(axis=1)
    broad = (_widths(right) >= _RIGHT_LEFT_OVER * _widths(right).max()) & (
        _widths(left) >= _LEFT_LEFT_OVER * _widths(left).max()
    )
    measured = both & lower & broad
    if not measured.any():
        return None
    # On a mirrored film the patient's right lung lies at the right: which is where decides.
    first, second = sorted((right, left), key=lambda lung: float(np.nonzero(lung)[1].mean()))
    thorax = (_last(second) - _first(first) + 1)[both].max()
    heart = (_first(second) - _last(first) - 1)[measured].max()
    return max(0.0, float(heart / thorax))


def lungs_to_keep_to(masks: Masks, labels: tuple[str, ...]) -> Mask | None:
    """Both lungs in one mask, if both were found confidently.

    Args:
        masks: of one image.
        labels: of its channels.

    Returns:
        bool `[h, w]`; None where a lung is smaller than `LEAST_SHARE` of the square, or the mean
        probability inside it is below 0.9.
    """
    found = []
    for label in (RIGHT_LUNG, LEFT_LUNG):
        probabilities = masks.mask[0, labels.index(label)]
        lung = organ(probabilities)
        if lung.mean() < LEAST_SHARE or probabilities[lung].mean() < _CONFIDENT:
            return None
        found.append(lung)
    return np.asarray(found[0] | found[1])


def moved(mask: Mask, source: Placement, target: Placement) -> Mask:
    """A mask of one network's square, in another's, by way of the image both were fitted from.

    Args:
        mask: bool `[h, w]`, which covers the square of `source`.
        source, target: how the image lies in each square.

    Returns:
        bool `[side, side]` of `target`; false where `source` saw nothing.
    """
    height, width = mask.shape
    centres = np.arange(target.side, dtype=np.float64) + 0.5
    xs, ys = source.to_square(*target.to_image(centres, centres))
    columns = np.floor(xs * (width / source.side)).astype(np.int64)
    rows = np.floor(ys * (height / source.side)).astype(np.int64)
    seen = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    there = mask[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return np.asarray(there & seen)


def _edges_in_image(
    width: int, height: int, where: Placement
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of a mask's columns and rows in pixels of the image, cut off at its border."""
    across = np.arange(width + 1, dtype=np.float64) * (where.side / width)
    down = np.arange(height + 1, dtype=np.float64) * (where.side / height)
    xs, _ = where.to_image(across, across)
    _, ys = where.to_image(down, down)
    return xs.clip(0, where.width), ys.clip(0, where.height)


def _widths(lung: Mask) -> NDArray[np.int64]:
    return np.asarray(lung.sum(axis=1))


def _first(lung: Mask) -> NDArray[np.int64]:
    return np.asarray(lung.argmax(axis=1))


def _last(lung: Mask) -> NDArray[np.int64]:
    return np.asarray(lung.shape[1] - 1 - lung[:, ::-1].argmax(axis=1))
