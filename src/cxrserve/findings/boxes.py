"""Boxes from a class map: roughly where the evidence for a finding lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings.evidence import Map, upsampled
from cxrserve.findings.parts import Mask, connected_parts
from cxrserve.models.preprocess import Placement

# Of the range of the positive evidence: the higher of the two thresholds of Wang et al. 2017
# (arXiv 1705.02315, section 4.3), 180 of 255.
THRESHOLD = 180 / 255
MOST_BOXES = 3
# Part of the side by which lungs are widened: findings at the pleura lie at the mask's edge.
LUNG_MARGIN = 0.05
# Log-odds that are one plateau: float32 leaves less than this between its places.
_SAME_EVIDENCE = 1e-3
# Found at the heart, the pleura, the chest wall or the diaphragm, where lung masks end: fluid and
# air in the pleural space are not lung, and a mask follows the lung that they push away.
OUTSIDE_LUNGS = frozenset(
    {
        "cardiomegaly",
        "enlarged_cardiomediastinum",
        "hernia",
        "effusion",
        "pleural_effusion",
        "pneumothorax",
        "pleural_thickening",
        "pleural_other",
        "fracture",
        "support_devices",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels of the network's square, or of the image after `in_image`.

    `score` is the mean over the box's part of sigmoid(evidence), 0..1: how likely the finding were
    if the whole film looked like this part. It is not calibrated.
    """

    left: float
    top: float
    width: float
    height: float
    score: float


def is_limited_to_lungs(label: str) -> bool:
    """Whether a finding of this name lies inside the lungs; see `OUTSIDE_LUNGS`."""
    return label.lower().replace(" ", "_") not in OUTSIDE_LUNGS


def boxes_of(
    cam: Map,
    *,
    bias: float,
    side: int,
    threshold: float = THRESHOLD,
    lungs: Mask | None = None,
) -> tuple[Box, ...]:
    """Boxes around the strongest evidence (Wang et al. 2017, arXiv 1705.02315, section 4.3).

    The map plus bias is upsampled bilinearly, what is below zero speaks against the finding and
    counts as zero, the rest is brought to 0..1 between its least and greatest value, and each
    connected part from `threshold` on gets a box. The range is that of the whole map, also where
    boxes are limited to the lungs: if the strongest evidence lies outside, nothing inside is made
    to look as strong. A part that is strongest outside the lungs is left out, of the others what
    lies inside is taken. No box is smaller than a cell of the map, which says nothing finer.

    Args:
        cam: class map of one label, float32 `[h, w]`, in logits.
        bias: the label's bias, so that `mean(cam) + bias` is its logit.
        side: of the network's square, in pixels.
        threshold: part of the range, 0..1.
        lungs: bool `[side, side]`; boxes keep to them, widened by `LUNG_MARGIN`.

    Returns:
        At most `MOST_BOXES`, the highest score first, in pixels of the network's square. None where
        no place has positive evidence.
    """
    evidence = upsampled(np.asarray(cam + np.float32(bias), np.float32), side)
    positive = np.clip(evidence, 0, None)
    least, greatest = float(positive.min()), float(positive.max())
    if greatest <= 0:
        return ()
    # A map that is the same everywhere has no range: all of it is its strongest part.
    share = (positive - least) / (greatest - least) if greatest > least else np.ones_like(positive)
    strong = (share >= threshold) & (positive > 0)
    allowed = None if lungs is None else widened(lungs, round(LUNG_MARGIN * side))
    numbered = connected_parts(strong)
    parts = [numbered == number for number in range(1, numbered.max() + 1)]
    if allowed is not None:
        parts = [part & allowed for part in parts if _peaks_inside(part, allowed, evidence)]
    cell = (side / cam.shape[1], side / cam.shape[0])
    boxes = [_box_around(part, evidence, least=cell) for part in parts]
    return tuple(sorted(boxes, key=lambda box: -box.score)[:MOST_BOXES])


def in_image(box: Box, where: Placement) -> Box | None:
    """A box of the network's square in pixels of the image; None if it lies in a pad's border."""
    left, top = where.to_image(box.left, box.top)
    right, bottom = where.to_image(box.left + box.width, box.top + box.height)
    left, right = max(0.0, left), min(float(where.width), right)
    top, bottom = max(0.0, top), min(float(where.height), bottom)
    if left >= right or top >= bottom:
        return None
    return Box(left=left, top=top, width=right - left, height=bottom - top, score=box.score)


def widened(mask: Mask, margin: int) -> Mask:
    """A mask with every place that is at most `margin` pixels off in x and in y."""
    across = _any_within(mask, margin)
    return _any_within(across.T, margin).T


def _any_within(mask: Mask, margin: int) -> Mask:
    width = mask.shape[1]
    counted = np.pad(mask.cumsum(axis=1), ((0, 0), (1, 0)))
    columns = np.arange(width)
    ends = np.minimum(columns + margin + 1, width)
    starts = np.maximum(columns - margin, 0)
    return np.asarray(counted[:, ends] > counted[:, starts])


def _peaks_inside(part: Mask, allowed: Mask, evidence: Map) -> bool:
    inside = evidence[part & allowed]
    return bool(inside.size and inside.max() >= evidence[part].max() - _SAME_EVIDENCE)


def _box_around(part: Mask, evidence: Map, *, least: tuple[float, float]) -> Box:
    left, width = _span(np.asarray(part.any(axis=0)), least[0])
    top, height = _span(np.asarray(part.any(axis=1)), least[1])
    probabilities = 1 / (1 + np.exp(-evidence[part].astype(np.float64)))
    score = float(probabilities.mean())
    return Box(left=left, top=top, width=width, height=height, score=score)


def _span(touched: NDArray[np.bool_], least: float) -> tuple[float, float]:
    """Start and length of what is touched, widened to `least` about its middle."""
    places = np.flatnonzero(touched)
    start, length = float(places[0]), float(places[-1] - places[0] + 1)
    longer = max(length, least)
    start = min(max(0.0, start - (longer - length) / 2), len(touched) - longer)
    return start, longer
