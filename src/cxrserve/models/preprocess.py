"""A radiograph's pixels become a network's input: the same code when training and when serving."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrserve.models.manifest import Input

PREPROCESSING_VERSION = 1


def fit(pixels: NDArray[np.uint8], how: Input) -> NDArray[np.uint8]:
    """Fit grey pixels into the square that a network reads.

    Args:
        pixels: uint8 `[height, width]`, air dark.
        how: the side in pixels, and what happens to the aspect ratio (`stretch`, `pad`, `crop`).

    Returns:
        uint8 `[side, side]`, resampled with Pillow's antialiased bilinear filter.
    """
    image = Image.fromarray(_framed(pixels, how))
    if image.size != (how.side, how.side):
        image = image.resize((how.side, how.side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _framed(pixels: NDArray[np.uint8], how: Input) -> NDArray[np.uint8]:
    height, width = pixels.shape
    if how.fit == "stretch" or height == width:
        return pixels
    if how.fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]
    side = max(height, width)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def preprocessing_digest(how: Input) -> str:
    """Short digest of everything that turns pixels into a network's input; answers carry it."""
    stages = f"v{PREPROCESSING_VERSION}:{how.model_dump_json()}:{inspect.getsource(_framed)}"
    return hashlib.sha256(stages.encode()).hexdigest()[:16]
