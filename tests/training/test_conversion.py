"""The converted backbone is the Keras network, not one that resembles it."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cxrserve.errors import BrokenPackage
from cxrserve.training.networks.keras_weights import load_keras_backbone, read_layers
from cxrserve.training.networks.mobilenetv2 import MobileNetV2

WEIGHTS = "weights/mobilenetv2_035_imagenet_teachable_machine.h5"


@pytest.fixture(scope="module")
def converted(real_data: Path) -> MobileNetV2:
    network = MobileNetV2(labels=2).eval()
    load_keras_backbone(network, real_data / WEIGHTS)
    return network


@pytest.fixture(scope="module")
def images(real_data: Path) -> torch.Tensor:
    """uint8 `[7, 1, 224, 224]`: six of noise at several scales, one real radiograph."""
    draws = np.random.default_rng(1)
    noise = [
        np.kron(draws.integers(0, 256, (224 // k, 224 // k)), np.ones((k, k)))
        for k in (1, 2, 4, 8, 16, 32)
    ]
    film = Image.open(next(iter(sorted((real_data / "nih14").glob("*.jpg"))))).convert("L")
    stacked = np.stack([*noise, np.asarray(film.resize((224, 224)))])
    return torch.from_numpy(stacked.astype(np.uint8)).unsqueeze(1)


def keras_original(weights: Path) -> Any:
    """Keras's own MobileNetV2 in double precision, given the file's weights by layer name."""
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras", reason="the proof needs Keras: pip install keras")
    # Left so: Keras casts what it is given to this type on every call.
    keras.config.set_floatx("float64")
    original = keras.applications.MobileNetV2(
        input_shape=(224, 224, 3), alpha=0.35, include_top=False, weights=None
    )
    order = ("kernel", "depthwise_kernel", "gamma", "beta", "moving_mean", "moving_variance")
    layers = read_layers(weights)
    weighted = [layer for layer in original.layers if layer.weights]
    assert {layer.name for layer in weighted} == set(layers)
    for layer in weighted:
        parameters = layers[layer.name]
        layer.set_weights([parameters[name] for name in order if name in parameters])
    return original


@pytest.mark.data
def test_our_features_are_those_of_the_original_keras_graph(
    real_data: Path, converted: MobileNetV2, images: torch.Tensor
) -> None:
    original = keras_original(real_data / WEIGHTS)
    normed = images.double() / 127.5 - 1.0
    with torch.inference_mode():
        rows = normed.permute(0, 2, 3, 1).repeat(1, 1, 1, 3).numpy()
        theirs = original(rows, training=False).permute(0, 3, 1, 2).cpu()
        ours = deepcopy(converted).double().features_of(normed.repeat(1, 3, 1, 1))
        served = converted.features(images)
    assert theirs.dtype == torch.float64
    assert ours.shape == theirs.shape == (7, 1280, 7, 7)
    assert theirs.std() > 0.1
    # Keras computes its normalisations in float32 whatever it is told (1e-6 a layer), so the two
    # never agree to double precision; on noise, float32 on both sides can add up to 1.05e-4.
    assert (ours - theirs).abs().max() < 1e-4
    assert (served - theirs).abs().max() < 3e-4
    assert (served[-1] - theirs[-1]).abs().max() < 1e-4, "the real radiograph"


@pytest.mark.data
def test_symmetric_padding_would_not_have_passed(
    converted: MobileNetV2, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        right = converted.features(images)
        monkeypatch.setattr(
            "cxrserve.training.networks.mobilenetv2._padded_for_stride_2",
            lambda image: torch.nn.functional.pad(image, (1, 1, 1, 1)),
        )
        wrong = converted.features(images)
    assert (right - wrong).abs().max() > 1e-2


@pytest.mark.data
def test_weights_of_another_width_are_refused(real_data: Path) -> None:
    with pytest.raises(BrokenPackage, match=r"Conv1|bn_Conv1|expanded_conv"):
        load_keras_backbone(MobileNetV2(labels=2, width=1.0), real_data / WEIGHTS)


@pytest.mark.parametrize("side", [64, 65, 96])
def test_the_maps_mean_and_the_bias_are_the_logit(side: int) -> None:
    network = MobileNetV2(labels=3).eval()
    pixels = torch.randint(0, 256, (2, 1, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        logits, cam = network(pixels)
    assert cam.shape == (2, 3, -(-side // 32), -(-side // 32))
    torch.testing.assert_close(cam.mean(dim=(2, 3)) + network.head.bias, logits)


def test_folding_the_normalisations_changes_nothing() -> None:
    torch.manual_seed(3)
    network = MobileNetV2(labels=2)
    pixels = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        network.train()(pixels)  # gives the normalisations statistics that are not the trivial ones
        before, after = network.eval()(pixels)[0], network.folded()(pixels)[0]
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)
