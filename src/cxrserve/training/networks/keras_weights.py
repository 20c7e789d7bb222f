"""ImageNet weights of a Keras 2 file (`.h5`) into our MobileNetV2.

Read as plain arrays with h5py: no Keras, no pickle, no code from the file is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrserve.errors import BrokenPackage
from cxrserve.training.networks.mobilenetv2 import MobileNetV2

Layers = Mapping[str, Mapping[str, NDArray[np.float32]]]

_NORM_PARAMETERS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def load_keras_backbone(network: MobileNetV2, weights: Path) -> None:
    """Copy every convolution and normalisation of the backbone; the head stays as it is.

    Args:
        network: changed in place.
        weights: a Keras 2 `.h5` with the backbone in `model_weights/sequential_1`.

    Raises:
        BrokenPackage: a layer is missing or has another shape, e.g. another width multiplier.
    """
    layers = read_layers(weights)
    with torch.no_grad():
        for conv_name, norm_name, layer in network.convolutions():
            _assign(layer.conv.weight, _kernel(layers, conv_name), name=conv_name)
            assert isinstance(layer.norm, nn.BatchNorm2d)
            for ours, theirs in _NORM_PARAMETERS.items():
                array = _parameter(layers, norm_name, theirs)
                _assign(getattr(layer.norm, ours), array, name=f"{norm_name}/{theirs}")


def read_layers(weights: Path, *, group: str = "model_weights/sequential_1") -> Layers:
    """Arrays by layer and parameter, e.g. `layers["Conv1"]["kernel"]` float32 `[3, 3, 3, 16]`."""
    with h5py.File(weights, "r") as file:
        return {
            layer: {
                name.removesuffix(":0"): np.asarray(array) for name, array in parameters.items()
            }
            for layer, parameters in file[group].items()
        }


def _kernel(layers: Layers, name: str) -> NDArray[np.float32]:
    """A kernel in torch's order; Keras has `[h, w, in, out]`, depthwise `[h, w, channel, 1]`."""
    if name.endswith("_depthwise"):
        return _parameter(layers, name, "depthwise_kernel").transpose(2, 3, 0, 1)
    return _parameter(layers, name, "kernel").transpose(3, 2, 0, 1)


def _parameter(layers: Layers, layer: str, parameter: str) -> NDArray[np.float32]:
    try:
        return layers[layer][parameter]
    except KeyError:
        raise BrokenPackage(
            f"the weight file has no {layer}/{parameter}",
            advice="give a Keras MobileNetV2 file without its own classifier on top",
        ) from None


def _assign(target: torch.Tensor, array: NDArray[np.float32], *, name: str) -> None:
    if tuple(target.shape) != array.shape:
        raise BrokenPackage(
            f"{name} has shape {array.shape}, the network expects {tuple(target.shape)}",
            advice="the width multiplier of the network and of the file must agree",
        )
    target.copy_(torch.from_numpy(np.ascontiguousarray(array)))
