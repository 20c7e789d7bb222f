"""Small movements and exposures of whole batches, as a technician's next film might differ."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cxrserve.training.recipe import Augmentation


def augmented(
    pixels: Tensor, how: Augmentation, *, side: int, randomness: torch.Generator
) -> Tensor:
    """Each image moved and exposed by its own draw.

    Args:
        pixels: uint8 `[n, 1, S, S]`.
        how: the ranges.
        side: side of the result in pixels, at most S.
        randomness: where the draws come from.

    Returns:
        float32 `[n, 1, side, side]`, 0..255. What comes in from outside the film is black, as air.
    """
    images = pixels.float()
    if side != images.shape[-1]:
        images = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    grid = functional.affine_grid(
        _affine(len(images), how, randomness), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def factor(half_width: float) -> Tensor:
        return _uniform(len(images), half_width, randomness).view(-1, 1, 1, 1)

    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    exposed = (moved - mean) * (1 + factor(how.contrast)) + mean + 255 * factor(how.brightness)
    return exposed.clamp(0, 255)


def _affine(count: int, how: Augmentation, randomness: torch.Generator) -> Tensor:
    """float32 `[count, 2, 3]`: mirror, scale and rotation about the centre, then a shift."""
    angle = _uniform(count, math.radians(how.rotate_deg), randomness)
    scale = 1 + _uniform(count, how.scale, randomness)
    mirror = torch.ones(count)
    if how.mirror:
        mirror = torch.randint(0, 2, (count,), generator=randomness) * 2.0 - 1.0
    # The grid spans -1..1, so a share of the side is twice as long in it.
    right, down = (_uniform(count, 2 * how.shift, randomness) for _ in range(2))
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = (torch.stack((mirror * cos, -sin, right), 1), torch.stack((mirror * sin, cos, down), 1))
    return torch.stack(rows, 1)


def _uniform(count: int, half_width: float, randomness: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=randomness) * 2 - 1) * half_width
