"""A film before it is windowed: what a person turns brightness and contrast on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

_TOP = 65535.0


@dataclass(frozen=True, slots=True)
class Window:
    """Which values become grey (PS3.3 C.11.2.1.2): `centre` and `width` in units of the film."""

    centre: float
    width: float
    function: Function = "LINEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmValues:
    """A film's values, at most as large as it is to be shown.

    Attributes:
        values: uint16 `[h, w]`: 0 is `low`, 65535 is `high`, even steps between.
        low, high: in the film's own units, after its modality look-up.
        window: the one that the file asks for, or its whole range.
        inverted: low values are bright (MONOCHROME1).
        width, height: of the image that was sent, in its own pixels.
    """

    values: NDArray[np.uint16]
    low: float
    high: float
    window: Window
    inverted: bool
    width: int
    height: int

    def described(self) -> dict[str, Any]:
        """All but the values."""
        return {
            "rows": self.values.shape[0],
            "columns": self.values.shape[1],
            "low": self.low,
            "high": self.high,
            "centre": self.window.centre,
            "window": self.window.width,
            "function": self.window.function,
            "inverted": self.inverted,
            "width": self.width,
            "height": self.height,
        }

    def shown(self, *, centre: float | None = None, width: float | None = None) -> Image.Image:
        """The film in grey, air dark, through this window or, where not given, its own."""
        window = Window(
            self.window.centre if centre is None else centre,
            self.window.width if width is None else width,
            self.window.function,
        )
        levels = np.linspace(self.low, self.high, int(_TOP) + 1)
        grey = windowed(levels, window)
        table = np.rint(255 * (1 - grey if self.inverted else grey)).astype(np.uint8)
        return Image.fromarray(table[self.values])


def values_from(described: Mapping[str, Any], data: bytes | bytearray) -> FilmValues:
    """What `described` and the values' bytes say, put together again."""
    values = np.frombuffer(data, "<u2").reshape(described["rows"], described["columns"])
    return FilmValues(
        values=values,
        low=float(described["low"]),
        high=float(described["high"]),
        window=Window(
            float(described["centre"]), float(described["window"]), described["function"]
        ),
        inverted=bool(described["inverted"]),
        width=int(described["width"]),
        height=int(described["height"]),
    )


def film_values(
    values: NDArray[np.float32],
    *,
    window: Window | None,
    inverted: bool,
    size: tuple[int, int],
    side: int,
) -> FilmValues:
    """Values as they are shown.

    Args:
        values: float32 `[rows, columns]`, square pixels.
        window: what the file asks for; None for all of its range.
        inverted: low values are bright.
        size: width and height of the image that was sent.
        side: of the longer side, in pixels; a larger film is scaled down.
    """
    low, high = float(values.min()), float(values.max())
    rows, columns = values.shape
    scale = min(1.0, side / max(rows, columns))
    if scale < 1:
        smaller = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        values = np.asarray(Image.fromarray(values).resize(smaller, Image.Resampling.BOX))
    steps = (values - low) * (_TOP / max(high - low, 1e-9))
    return FilmValues(
        values=np.rint(np.clip(steps, 0, _TOP)).astype("<u2"),
        low=low,
        high=max(high, low + 1e-9),
        window=window or Window((low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT"),
        inverted=inverted,
        width=size[0],
        height=size[1],
    )


def windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Values as grey, 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = window.centre, window.width
    if window.function == "SIGMOID":
        # Beyond ±60 it is 0 or 1 to the last bit; further out exp would overflow.
        steepness = np.clip(4 * (values - centre) / max(width, 1e-9), -60, 60)
        return np.asarray(1 / (1 + np.exp(-steepness)))
    if window.function == "LINEAR" and width > 1:
        return np.asarray(np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1))
    return np.asarray(np.clip((values - centre) / max(width, 1e-9) + 0.5, 0, 1))
