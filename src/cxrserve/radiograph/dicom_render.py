"""From stored values to a grey picture, air dark, in the order the standard gives.

PS3.3 C.11.1 modality look-up, C.11.2 values of interest, then the photometric interpretation
(C.7.6.3.1.2), padding (C.7.5.1.1.2) and the pixel aspect ratio (C.7.6.3.1.7). All steps but the
last depend on the stored value alone, so they are computed once a value and looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from cxrserve.radiograph.dicom_facts import numbers
from cxrserve.radiograph.raster import grey_of

Levels = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.uint8, np.float32)
_MOST_STRETCH = 4.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A grey picture: pixels uint8 `[height, width]`, saturation 0..1 of the colour it had."""

    pixels: NDArray[np.uint8]
    saturation: float
    remarks: tuple[str, ...]


def render(dataset: Dataset, raw: NDArray[np.integer]) -> Rendered:
    """Render decoded values for a network.

    Args:
        dataset: the DICOM header.
        raw: stored values, integers `[rows, columns]`, or RGB `[rows, columns, 3]`.
    """
    if raw.ndim == 3:
        eight_bits = raw >> max(int(dataset.BitsStored) - 8, 0)
        pixels, saturation = grey_of(Image.fromarray(eight_bits.astype(np.uint8)))
        return Rendered(squared(pixels, dataset), saturation, ())
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        pixels, saturation = grey_of(Image.fromarray(_palette(dataset, raw)))
        return Rendered(squared(pixels, dataset), saturation, ())
    values = stored_values(dataset, raw)
    padding = padding_of(dataset, values)
    lowest = min(int(values.min()), 0)
    levels = np.arange(lowest, int(values.max()) + 1)
    table, remarks = _table(dataset, levels, values, padding)
    pixels = np.take(table, values - lowest if lowest else values)
    if padding is not None:
        pixels[padding] = 0
    return Rendered(squared(pixels, dataset), 0.0, remarks)


def _table(
    dataset: Dataset,
    levels: NDArray[np.int64],
    values: NDArray[np.integer],
    padding: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The grey level, 0 to 255, of every stored value in `levels`."""
    # apply_modality_lut knows both the look-up table and the rescale form.
    modality = np.asarray(apply_modality_lut(levels.astype(np.int32), dataset), np.float64)
    remarks: tuple[str, ...] = ()
    shown = voi_lut(dataset, modality)
    if shown is None:
        shown = _window(dataset, modality)
    if shown is None and is_display_ready(dataset):
        shown = modality / ((1 << int(dataset.BitsStored)) - 1)
    if shown is None:
        inside = values[~padding] if padding is not None and not padding.all() else values
        low, high = np.sort(
            modality[[int(inside.min()) - levels[0], int(inside.max()) - levels[0]]]
        )
        shown = (modality - low) / max(high - low, 1e-9)
        remarks = ("no_window",)
    if is_inverted(dataset):
        shown = 1.0 - shown
    return np.rint(np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8), remarks


def stored_values(dataset: Dataset, raw: NDArray[np.integer]) -> NDArray[np.integer]:
    """Mask what lies outside the stored bits (old files keep overlays there); extend the sign."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored", 0) or 0)
    stored = stored or allocated
    high_bit = int(dataset.get("HighBit", stored - 1) or stored - 1)
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    shift = max(high_bit + 1 - stored, 0)
    if not shift and not signed and int(raw.max()) < 1 << stored:
        return raw
    values = raw.astype(np.int32)
    if shift or stored < allocated:
        values = (values >> shift) & ((1 << stored) - 1)
        if signed:
            values -= (values >> (stored - 1)) << stored
    return values


def padding_of(dataset: Dataset, values: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted((_as_stored(dataset, value), _as_stored(dataset, limit)))
    padding = (values >= low) & (values <= high)
    return padding if padding.any() else None


def _as_stored(dataset: Dataset, value: int | bytes) -> int:
    # The VR of these elements is ambiguous (US or SS), so a signed value may arrive unsigned.
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    bits = int(dataset.BitsAllocated)
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def voi_lut(dataset: Dataset, modality: Levels) -> Levels | None:
    """The first VOI LUT, which replaces any window, as 0..1 (C.11.2.1.1)."""
    sequence = dataset.get("VOILUTSequence")
    if not sequence:
        return None
    item = sequence[0]
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    table = _lut_data(item, entries, bits)
    if first >= 1 << 15 and modality.min() < 0:
        first -= 1 << 16
    index = np.clip(np.rint(modality) - first, 0, len(table) - 1).astype(np.int64)
    return np.asarray(table[index] / float((1 << bits) - 1))


def _lut_data(item: Dataset, entries: int, bits: int) -> Levels:
    data = item.LUTData
    if isinstance(data, bytes):
        wide = len(data) >= 2 * entries
        data = np.frombuffer(data, "<u2" if wide else "u1")
    table = np.asarray(data, np.float64)[:entries]
    return np.mod(table, 1 << max(bits, 8))


def _window(dataset: Dataset, modality: Levels) -> Levels | None:
    """The first window, as 0..1 (C.11.2.1.2 and .3)."""
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    centre, width = centres[0], widths[0]
    function = str(dataset.get("VOILUTFunction", "") or "LINEAR").upper()
    if function == "SIGMOID" and width > 0:
        # Beyond ±60 it is 0 or 1 to the last bit; further out exp would overflow.
        return np.asarray(
            1.0 / (1.0 + np.exp(-np.clip(4.0 * (modality - centre) / width, -60, 60)))
        )
    if function == "LINEAR_EXACT" and width > 0:
        return np.asarray((modality - centre) / width + 0.5)
    if width < 1:
        return None
    if width == 1:
        return np.asarray(modality > centre - 0.5, np.float64)
    return np.asarray((modality - (centre - 0.5)) / (width - 1.0) + 0.5)


def is_display_ready(dataset: Dataset) -> bool:
    # Eight unsigned bits without any look-up are display values already, as in a JPEG or PNG.
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    looked_up = any(word in dataset for word in ("ModalityLUTSequence", "RescaleSlope"))
    return int(dataset.get("BitsStored", 16) or 16) <= 8 and not signed and not looked_up


def is_inverted(dataset: Dataset) -> bool:
    # MONOCHROME1 and PresentationLUTShape INVERSE say the same thing (C.8.11.3.1.2): once.
    monochrome1 = str(dataset.get("PhotometricInterpretation", "")).upper() == "MONOCHROME1"
    return monochrome1 or str(dataset.get("PresentationLUTShape", "")).upper() == "INVERSE"


def _palette(dataset: Dataset, raw: NDArray[np.integer]) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415 - rare

    colours = apply_color_lut(raw, dataset)
    return (colours >> 8 if colours.dtype.itemsize == 2 else colours).astype(np.uint8)


def squared(pixels: NDArray[Pixel], dataset: Dataset) -> NDArray[Pixel]:
    """Resample pixels that are not square, along the direction that has too few of them."""
    stretch = row_stretch(dataset)
    rows, columns = pixels.shape
    if abs(stretch - 1.0) < 0.005:
        return np.ascontiguousarray(pixels)
    size = (columns, round(rows * stretch)) if stretch > 1 else (round(columns / stretch), rows)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def row_stretch(dataset: Dataset) -> float:
    """How often the rows are too few: height of a pixel over its width, 1 where unbelievable."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        pair = numbers(dataset, keyword)
        if len(pair) == 2 and min(pair) > 0:
            stretch = pair[0] / pair[1]
            return stretch if 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH else 1.0
    return 1.0
