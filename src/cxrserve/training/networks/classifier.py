"""The graph contract as a torch module: any backbone, global average pooling, one linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Reading:
    """What a classifier gives for N images.

    Attributes:
        logits: `[N, K]`.
        cam: class activation maps `[N, K, h, w]`, with `mean(cam) + bias == logit`.
        pooled: features after pooling `[N, C]`, before dropout.
    """

    logits: Tensor
    cam: Tensor
    pooled: Tensor


class Classifier(nn.Module):
    """A grey radiograph in; logits and class activation maps out (design decision 3).

    The head is global average pooling and one linear layer on features after the last ReLU, so a
    class activation map is a 1×1 convolution with the head's weights and
    `mean(cam) + bias == logit` (Zhou et al. 2016).

    Args:
        channels: channels of the features.
        labels: number of outputs K.
        dropout: share of pooled features dropped while training.

    Attributes:
        grader: a second head of one logit on the same pooled features, for training and figures;
            it is not exported.
    """

    def __init__(self, *, channels: int, labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, labels)
        self.grader: nn.Linear | None = None

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 `[N, 1, S, S]` to what the backbone was made for, float32 `[N, c, S, S]`."""
        raise NotImplementedError

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU `[N, C, h, w]` of normalised images.

        The first `frozen_blocks` blocks, and what lies before them, get no gradient.
        """
        raise NotImplementedError

    def features(self, pixels: Tensor) -> Tensor:
        """Features after the last ReLU `[N, C, h, w]` of grey 0..255 `[N, 1, S, S]`."""
        return self.features_of(self.normalised(pixels))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and class activation maps of a batch.

        Args:
            pixels: uint8 `[N, 1, S, S]`, grey, air dark.

        Returns:
            `logits` float32 `[N, K]` and `cam` float32 `[N, K, h, w]`.
        """
        reading = self.read(pixels)
        return reading.logits, reading.cam

    def read(self, pixels: Tensor, frozen_blocks: int = 0) -> Reading:
        """Logits, maps and pooled features of grey 0..255 `[N, 1, S, S]`."""
        features = self.features_of(self.normalised(pixels), frozen_blocks)
        pooled = features.mean(dim=(2, 3))
        return Reading(
            logits=self.head(self.dropout(pooled)),
            cam=functional.conv2d(features, self.head.weight[:, :, None, None]),
            pooled=pooled,
        )

    def folded(self) -> nn.Module:
        """The network as it is exported, its normalisations folded away where that is known."""
        return self.eval()


def gradients(wanted: bool) -> torch.set_grad_enabled:
    """Context in which gradients are kept only where `wanted`, and only if they were before."""
    return torch.set_grad_enabled(wanted and torch.is_grad_enabled())
