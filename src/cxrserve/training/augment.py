"""Small movements and exposures of whole batches, as a technician's next film might differ."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cxrserve.training.recipe import Augmentation


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """uint8 `[n, C, S, S]` at a smaller side, by antialiased bilinear resampling; done once."""
    if pixels.shape[-1] == side:
        return pixels
    parts = [
        functional.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
        for part in torch.split(pixels, 256)
    ]
    return torch.cat([part.round().to(torch.uint8) for part in parts])


def augmented(pixels: Tensor, how: Augmentation, *, randomness: torch.Generator) -> Tensor:
    """Each image moved and exposed by its own draw.

    Args:
        pixels: uint8 `[n, C, S, S]`: the film, and behind it maps that move with it.
        how: the ranges.
        randomness: where the draws come from.

    Returns:
        float32 `[n, C, S, S]`, 0..255; only the film is exposed, coarsened and grained. What
        comes in from outside the film is black, as air.
    """
    images = pixels.float()
    grid = functional.affine_grid(
        _affine(len(images), how, randomness), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def factor(half_width: float) -> Tensor:
        return _uniform(len(images), half_width, randomness).view(-1, 1, 1, 1)

    film = moved[:, :1]
    if how.coarsen:
        film = _coarsened(film, how.coarsen, randomness)
    mean = film.mean(dim=(1, 2, 3), keepdim=True)
    exposed = (film - mean) * (1 + factor(how.contrast)) + mean + 255 * factor(how.brightness)
    if how.grain:
        strength = 255 * factor(how.grain).abs()
        exposed = exposed + strength * torch.randn(exposed.shape, generator=randomness)
    return torch.cat((exposed.clamp(0, 255), moved[:, 1:]), 1)


def _coarsened(film: Tensor, most: float, randomness: torch.Generator) -> Tensor:
    """The whole batch shrunk by one draw of 0..`most` and back, as from a smaller file."""
    side = film.shape[-1]
    smaller = round(side * (1 - most * float(torch.rand(1, generator=randomness))))
    small = functional.interpolate(film, (smaller, smaller), mode="bilinear")
    return functional.interpolate(small, (side, side), mode="bilinear")


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
