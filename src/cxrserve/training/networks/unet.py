"""A small U-Net (Ronneberger et al. 2015) that outlines the lungs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS = (16, 32, 48, 72, 96)


class UNet(nn.Module):
    """A grey radiograph in; one probability map a lung out, at the side of the input.

    The first convolution halves the image and the last map is doubled again: a lung's border is
    smooth, and the two finest levels would cost three quarters of the time.

    Args:
        labels: number of masks C.
    """

    def __init__(self, *, labels: int) -> None:
        super().__init__()
        first, *deeper = _CHANNELS
        self.enter = nn.Sequential(
            nn.Conv2d(1, first, 4, stride=2, padding=1), _Twice(first, first)
        )
        self.down = nn.ModuleList(
            _Twice(before, after) for before, after in zip(_CHANNELS, deeper, strict=False)
        )
        self.up = nn.ModuleList(
            _Twice(below + beside, beside)
            for below, beside in zip(deeper[::-1], _CHANNELS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(first, labels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities float32 `[N, C, S, S]` of uint8 `[N, 1, S, S]`; S a multiple of 32."""
        return self.logits(pixels).sigmoid()

    def logits(self, pixels: Tensor) -> Tensor:
        """Log-odds `[N, C, S, S]` of grey 0..255 `[N, 1, S, S]`."""
        image = pixels.float()
        # Each film about its own mean: exposure says nothing about where the lungs are.
        mean = image.mean(dim=(2, 3), keepdim=True)
        spread = (image - mean).square().mean(dim=(2, 3), keepdim=True).sqrt() + 8.0
        seen = self.enter((image - mean) / spread)
        beside = []
        for stage in self.down:
            beside.append(seen)
            seen = stage(functional.max_pool2d(seen, 2))
        for stage in self.up:
            wide = functional.interpolate(seen, scale_factor=2, mode="nearest")
            seen = stage(torch.cat((wide, beside.pop()), 1))
        return functional.interpolate(self.head(seen), scale_factor=2, mode="bilinear")


class _Twice(nn.Sequential):
    """Two 3×3 convolutions, each normalised."""

    def __init__(self, before: int, after: int) -> None:
        parts: list[nn.Module] = []
        for channels in (before, after):
            parts += [
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        super().__init__(*parts)
