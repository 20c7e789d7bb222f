"""Drawn chests in a network's input size: what engines are warmed, timed and compared with."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit
from cxrserve.radiograph.phantom import draw_phantom

# Drawing one takes longer than most networks need to read it: more are these, shifted.
_DRAWN = 4
_DRAWN_SIDE = 512


def films(count: int, side: int) -> NDArray[np.uint8]:
    """`count` phantoms, no two alike: uint8 `[count, 1, side, side]`."""
    drawn = _drawn(side)
    turned = [np.roll(drawn[number % _DRAWN], number // _DRAWN, axis=1) for number in range(count)]
    return np.ascontiguousarray(np.stack(turned)[:, None])


@functools.cache
def _drawn(side: int) -> NDArray[np.uint8]:
    how = Input(side=side)
    return np.stack([fit(_phantom(seed), how) for seed in range(_DRAWN)])


@functools.cache
def _phantom(seed: int) -> NDArray[np.uint8]:
    return draw_phantom(side=_DRAWN_SIDE, seed=seed)
