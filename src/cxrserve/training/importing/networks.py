"""Published architectures under our graph contract, with weights by torchvision's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import densenet121, resnet50

from cxrserve.training.importing.errors import UnusableWeights
from cxrserve.training.networks.classifier import Classifier

ARCHITECTURES = ("densenet121", "resnet50")
_HEADS = {"densenet121": "classifier", "resnet50": "fc"}
# Batch normalisation counts its training steps here; files before PyTorch 0.4.1 have none.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Scaling:
    """How grey 0..255 becomes an image: (x / 255 - mean) / spread, a channel for each value."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]


# torchvision's transforms.Normalize for its ImageNet weights.
IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class PublishedClassifier(Classifier):
    """A published backbone and its linear head.

    Args:
        backbone: normalised images `[N, c, S, S]` to features `[N, C, h, w]`.
        head: its linear layer, on pooled features after the last ReLU.
        scaling: what the backbone was trained on.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Linear, scaling: Scaling) -> None:
        super().__init__(channels=head.in_features, labels=head.out_features)
        self.backbone, self.head = backbone, head
        for name in ("mean", "spread"):
            values = torch.tensor(getattr(scaling, name)).reshape(1, -1, 1, 1)
            self.register_buffer(name, values)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey 0..255 `[N, 1, S, S]` to float32 `[N, c, S, S]`."""
        return (pixels.float() / 255 - self.mean) / self.spread

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU; torchvision's DenseNet has it outside of `features`."""
        if frozen_blocks:
            raise ValueError("an imported network is not trained; frozen_blocks must be 0")
        return functional.relu(self.backbone(image))


def published_classifier(
    architecture: str, state: Mapping[str, Tensor], *, labels: int, scaling: Scaling
) -> PublishedClassifier:
    """A network with published weights, in evaluation mode.

    Args:
        architecture: one of `ARCHITECTURES`.
        state: parameters and buffers by torchvision's names.
        labels: number of outputs K.
        scaling: how grey becomes its image; one channel or three.

    Raises:
        UnusableWeights: a tensor is missing, left over, or has another shape.
    """
    channels = len(scaling.mean)
    if architecture == "densenet121":
        network = densenet121(weights=None, num_classes=labels)
        network.features.conv0 = _first_convolution(channels)
    else:
        network = resnet50(weights=None, num_classes=labels)
        network.conv1 = _first_convolution(channels)
    _load(network, state)
    head = getattr(network, _HEADS[architecture])
    if architecture == "densenet121":
        return _ready(PublishedClassifier(network.features, head, scaling))
    parts = [part for name, part in network.named_children() if name not in ("avgpool", "fc")]
    return _ready(PublishedClassifier(nn.Sequential(*parts), head, scaling))


def _ready(network: PublishedClassifier) -> PublishedClassifier:
    return network.eval().requires_grad_(False)


def _first_convolution(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith(_COUNTER)}
    given = {k: v.float() for k, v in state.items() if not k.endswith(_COUNTER)}
    for name, tensor in expected.items():
        if name not in given:
            missing = len(expected.keys() - given.keys())
            raise UnusableWeights(
                f"the file has no {name} ({missing} tensors are missing)",
                advice=_ADVICE,
            )
        if given[name].shape != tensor.shape:
            raise UnusableWeights(
                f"{name} has shape {tuple(given[name].shape)}, "
                f"the network expects {tuple(tensor.shape)}",
                advice=_ADVICE,
            )
        if not given[name].isfinite().all():
            raise UnusableWeights(f"{name} holds numbers that are not finite")
    left_over = sorted(given.keys() - expected.keys())
    if left_over:
        raise UnusableWeights(
            f"the file has {len(left_over)} tensors that the network has not: {left_over[0]} …",
            advice=_ADVICE,
        )
    network.load_state_dict(given, strict=False)


_ADVICE = (
    "the architecture and the number of labels must be those that the weights were trained with"
)
