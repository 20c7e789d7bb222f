"""A radiograph's pixels become a network's input: the same code when training and when serving."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrserve.models.manifest import Input

PREPROCESSING_VERSION = 1

Coordinate = TypeVar("Coordinate", float, NDArray[np.float64])


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an image lies in the network's square: the way back from what `fit` did.

    Coordinates are continuous and pixel i covers `[i, i + 1)`, as in Pillow's resampling:
    `square = image * scale + corner` in each direction.

    Attributes:
        width, height: the image, in its own pixels; what boxes are given in.
        side: the network's square, in its pixels.
        scale_x, scale_y: the square's pixels per pixel of the image.
        left, top: the image's corner in the square; negative where `crop` cut it off.
    """

    width: int
    height: int
    side: int
    scale_x: float
    scale_y: float
    left: float
    top: float

    def to_image(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """A place in the square as one in the image; outside of it for a pad's border."""
        return (x - self.left) / self.scale_x, (y - self.top) / self.scale_y

    def to_square(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """A place in the image as one in the square; outside of it for what `crop` cut off."""
        return x * self.scale_x + self.left, y * self.scale_y + self.top


def placement(
    shape: tuple[int, int], how: Input, *, width: int | None = None, height: int | None = None
) -> Placement:
    """Where `fit` puts an image.

    Args:
        shape: `(height, width)` of the pixels that were fitted.
        how: as for `fit`.
        width, height: size of the image that was sent, where its pixels were decoded at a smaller
            scale; else those of `shape`.
    """
    tall, wide = shape
    width, height = width or wide, height or tall
    if how.fit == "stretch" or tall == wide:
        framed_wide, framed_tall, left, top = wide, tall, 0, 0
    else:
        framed = min(tall, wide) if how.fit == "crop" else max(tall, wide)
        framed_wide = framed_tall = framed
        # Rounded towards zero as `_framed` rounds, whichever side is cut off or filled up.
        left, top = _offset(wide, framed), _offset(tall, framed)
    across, down = how.side / framed_wide, how.side / framed_tall
    return Placement(
        width=width,
        height=height,
        side=how.side,
        scale_x=across * wide / width,
        scale_y=down * tall / height,
        left=left * across,
        top=top * down,
    )


def _offset(length: int, framed: int) -> int:
    return (framed - length) // 2 if framed >= length else -((length - framed) // 2)


def preprocessing_digest(how: Input) -> str:
    """Short digest of everything that turns pixels into a network's input; answers carry it."""
    stages = f"v{PREPROCESSING_VERSION}:{how.model_dump_json()}:{inspect.getsource(_framed)}"
    return hashlib.sha256(stages.encode()).hexdigest()[:16]
