"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as Keras builds it, under our graph contract.

The same arithmetic as `keras.applications.MobileNetV2`, so that ImageNet weights trained there
can be read (`keras_weights.py`): padding at stride 2 falls on the right and the bottom, batch
normalisation has epsilon 1e-3, activations are ReLU6 and pixels arrive as x / 127.5 - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cxrserve.training.networks.classifier import Classifier, gradients

CHANNELS_LAST = 1280

# Expansion t, channels c, repeats n, stride s: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Classifier):
    """MobileNetV2 under the graph contract.

    Args:
        labels: number of outputs K.
        width: multiplier of the channels; 0.35 is the smallest that Keras trained.
        dropout: share of pooled features dropped while training.
        output_stride: pixels of input per cell of the map; 16 leaves out the last halving and gives
            a map of twice the side from the same weights.
    """

    def __init__(
        self, *, labels: int, width: float = 0.35, dropout: float = 0.0, output_stride: int = 32
    ) -> None:
        # Below width 1 the last layer keeps its 1280 channels, as in Keras.
        last = _divisible(CHANNELS_LAST * max(1.0, width))
        super().__init__(channels=last, labels=labels, dropout=dropout)
        channels = _divisible(32 * width)
        self.stem = ConvNorm(3, channels, kernel=3, stride=2)
        blocks: list[InvertedResidual] = []
        reached = 2
        for expansion, base, repeats, stride in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 and reached * stride <= output_stride else 1
                reached *= step
                block = InvertedResidual(
                    channels, _divisible(base * width), expansion=expansion, stride=step
                )
                blocks.append(block)
                channels = block.project.conv.out_channels
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvNorm(channels, last, kernel=1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 `[N, 1, S, S]` to float32 `[N, 3, S, S]` in -1..1, the channel repeated."""
        return (pixels.float() / 127.5 - 1.0).repeat(1, 3, 1, 1)

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU6 `[N, 1280, h, w]`.

        The early blocks work at the highest resolution and cost most of a training step; with
        `frozen_blocks` 0 everything is trained, the stem too.
        """
        with gradients(frozen_blocks == 0):
            early = self.blocks[:frozen_blocks](functional.relu6(self.stem(image)))
        features: Tensor = functional.relu6(self.last(self.blocks[frozen_blocks:](early)))
        return features

    def folded(self) -> nn.Module:
        """The network in evaluation mode, each normalisation folded into its convolution.

        Its outputs are the same up to rounding; it has fewer graph nodes and cannot be trained.
        """
        copy = deepcopy(self).eval()
        for _, _, layer in copy.convolutions():
            assert isinstance(layer.norm, nn.BatchNorm2d)
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.norm = nn.Identity()
        return copy

    def convolutions(self) -> Iterator[tuple[str, str, ConvNorm]]:
        """Every convolution with the names that Keras gives it and its normalisation."""
        yield "Conv1", "bn_Conv1", self.stem
        for number, block in enumerate(self.blocks):
            prefix = f"block_{number}" if number else "expanded_conv"
            for part, layer in block.named_children():
                assert isinstance(layer, ConvNorm)
                yield f"{prefix}_{part}", f"{prefix}_{part}_BN", layer
        yield "Conv_1", "Conv_1_bn", self.last


class InvertedResidual(nn.Module):
    """Expand by 1×1, filter each channel by 3×3, project back, add the input if shapes agree."""

    def __init__(self, channels: int, out: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = ConvNorm(channels, wide, kernel=1) if expansion != 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel=3, stride=stride, groups=wide)
        self.project = ConvNorm(wide, out, kernel=1)
        self.adds_input = stride == 1 and channels == out

    def forward(self, image: Tensor) -> Tensor:
        wide = image if self.expand is None else functional.relu6(self.expand(image))
        narrow: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return image + narrow if self.adds_input else narrow


class ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation, padded the way TensorFlow pads."""

    def __init__(
        self, channels: int, out: int, *, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            out,
            kernel,
            stride,
            padding=kernel // 2 if stride == 1 else 0,
            groups=groups,
            bias=False,
        )
        # Keras's momentum 0.999 weighs the old value, torch's weighs the new one; a short training
        # run needs its statistics to follow, so torch's usual 0.1 stays.
        self.norm: nn.Module = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, image: Tensor) -> Tensor:
        if self.conv.stride[0] == 2:
            image = _padded_for_stride_2(image)
        normed: Tensor = self.norm(self.conv(image))
        return normed


def _padded_for_stride_2(image: Tensor) -> Tensor:
    """Keras's `correct_pad` for 3×3: even sides are padded behind, odd ones on both ends."""
    height, width = image.shape[-2:]
    return functional.pad(image, (width % 2, 1, height % 2, 1))


def _divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` nearest to `channels`, never more than a tenth below it."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
