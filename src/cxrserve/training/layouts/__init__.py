"""Public data sets read as they are downloaded: no manifest to write, no files to move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxrserve.training.datasets import Film
from cxrserve.training.layouts import kermany, lung_masks, nih14, shenzhen, tbx11k

# Shenzhen stands before the lung masks: it may have masks too, but its names say more.
_LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], tuple[Film, ...]]], ...] = (
    (nih14.recognises, nih14.read),
    (kermany.recognises, kermany.read),
    (tbx11k.recognises, tbx11k.read),
    (shenzhen.recognises, shenzhen.read),
    (lung_masks.recognises, lung_masks.read),
)


def read_layout(folder: Path) -> tuple[Film, ...] | None:
    """The films of a downloaded public data set, or None where the folder is none that is known.

    Raises:
        UnusableData: the data set is known, but something it needs is missing or contradictory.
    """
    for recognises, read in _LAYOUTS:
        if recognises(folder):
            return read(folder)
    return None
