"""DICOM bytes become values to be windowed: the look-ups of `dicom_render`, short of the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from cxrserve.radiograph.dicom import decoded
from cxrserve.radiograph.dicom_facts import numbers
from cxrserve.radiograph.dicom_render import (
    is_display_ready,
    is_inverted,
    padding_of,
    render,
    squared,
    stored_values,
    voi_lut,
)
from cxrserve.radiograph.film_values import FilmValues, Function, Window, film_values
from cxrserve.radiograph.limits import Limits

_GREY = Window(127.5, 255.0, "LINEAR_EXACT")
_FUNCTIONS: dict[str, Function] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}


def read_dicom_values(data: bytes, limits: Limits, side: int) -> FilmValues:
    """Read one image for a person to window.

    Args:
        data: a DICOM file.
        limits: what it may cost.
        side: of the longer side that is shown, in pixels.

    Returns:
        Values after the modality look-up; after the VOI look-up table too where the file has one,
        and grey levels 0..255 where it is in colour.

    Raises:
        CxrError: as for `read_dicom`.
    """
    with decoded(data, limits) as (dataset, raw, _):
        size = (int(dataset.Columns), int(dataset.Rows))
        photometric = str(dataset.get("PhotometricInterpretation", ""))
        if raw.ndim == 3 or photometric == "PALETTE COLOR":
            grey = render(dataset, raw).pixels.astype(np.float32)
            return film_values(grey, window=_GREY, inverted=False, size=size, side=side)
        values, window = _looked_up(dataset, raw)
        return film_values(
            squared(values, dataset),
            window=window,
            inverted=is_inverted(dataset),
            size=size,
            side=side,
        )


def _looked_up(
    dataset: Dataset, raw: NDArray[np.integer]
) -> tuple[NDArray[np.float32], Window | None]:
    stored = stored_values(dataset, raw)
    padding = padding_of(dataset, stored)
    lowest = min(int(stored.min()), 0)
    levels = np.arange(lowest, int(stored.max()) + 1)
    table = np.asarray(apply_modality_lut(levels.astype(np.int32), dataset), np.float64)
    looked_up = voi_lut(dataset, table)
    window = _GREY if looked_up is not None else _window(dataset)
    if looked_up is not None:
        table = looked_up * 255
    elif window is None and is_display_ready(dataset):
        full = float((1 << int(dataset.BitsStored)) - 1)
        window = Window(full / 2, full, "LINEAR_EXACT")
    values = table.astype(np.float32)[stored - lowest]
    if padding is not None and not padding.all():
        # Padding is as dark as the darkest of the film: it must not stretch the range.
        inside = values[~padding]
        values[padding] = inside.max() if is_inverted(dataset) else inside.min()
    return values, window


def _window(dataset: Dataset) -> Window | None:
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres or not widths or widths[0] < 1:
        return None
    said = str(dataset.get("VOILUTFunction", "") or "LINEAR").upper()
    return Window(centres[0], widths[0], _FUNCTIONS.get(said, "LINEAR"))
