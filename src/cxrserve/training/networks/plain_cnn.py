"""A plain convolutional network: what can be had without a published architecture or weights."""

from __future__ import annotations

from torch import Tensor, nn

from cxrserve.training.networks.classifier import Classifier

_CHANNELS = (24, 48, 96, 160, 224)


class PlainCNN(Classifier):
    """Five stages of two 3×3 convolutions, each halving the image; no skips, no tricks."""

    def __init__(self, *, labels: int, dropout: float = 0.0) -> None:
        super().__init__(channels=_CHANNELS[-1], labels=labels, dropout=dropout)
        stages: list[nn.Module] = []
        before = 1
        for channels in _CHANNELS:
            stages += [
                *_convolution(before, channels, stride=2),
                *_convolution(channels, channels, stride=1),
            ]
            before = channels
        self.backbone = nn.Sequential(*stages)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 to float32 `[N, 1, S, S]` in -2..2, a spread of about one on a radiograph."""
        return pixels.float() / 63.75 - 2.0

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU `[N, 224, h, w]`."""
        if frozen_blocks:
            raise ValueError("this network is trained whole; frozen_blocks must be 0")
        features: Tensor = self.backbone(image)
        return features


def _convolution(before: int, after: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
