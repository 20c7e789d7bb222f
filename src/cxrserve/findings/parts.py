"""Connected parts of a mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
# A row's run of set pixels: row, first column, and the column behind the last.
Run = tuple[int, int, int]


def connected_parts(mask: Mask) -> NDArray[np.int32]:
    """Number the parts of a mask that hang together over their sides (not their corners).

    Joins the runs of each row with those they touch in the row above (union-find; Rosenfeld and
    Pfaltz 1966): a Python step a run, not a pixel.

    Args:
        mask: bool `[h, w]`.

    Returns:
        int32 `[h, w]`: 0 outside, the parts 1, 2, 3 … in the order of their first rows.
    """
    runs = list(_runs(mask))
    parent = list(range(len(runs)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = run = parent[parent[run]]
        return run

    above = 0
    for current, (row, first, end) in enumerate(runs):
        while runs[above][0] < row - 1:
            above += 1
        for other in range(above, current):
            other_row, other_first, other_end = runs[other]
            if other_row == row or other_first >= end:
                break
            if other_end > first:
                parent[root(current)] = root(other)
    numbers: dict[int, int] = {}
    parts = np.zeros(mask.shape, np.int32)
    for current, (row, first, end) in enumerate(runs):
        parts[row, first:end] = numbers.setdefault(root(current), len(numbers) + 1)
    return parts


def largest_part(mask: Mask) -> Mask:
    """The connected part with the most pixels; an empty mask stays empty."""
    parts = connected_parts(mask)
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == sizes.argmax() + 1) if len(sizes) else mask


def _runs(mask: Mask) -> Iterator[Run]:
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, firsts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return zip(rows.tolist(), firsts.tolist(), ends.tolist(), strict=True)
