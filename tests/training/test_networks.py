"""Every network keeps the graph contract, and its map is Grad-CAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxrserve.training.graphs import (
    checked_parity,
    outputs_of,
    write_graph,
    write_halved,
    write_int8,
)
from cxrserve.training.localisation import grad_cam_difference
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.networks.large import DenseNet121, EfficientNetLite0, ResNet50
from cxrserve.training.networks.lungs_only import LungsOnly
from cxrserve.training.networks.mobilenetv2 import MobileNetV2
from cxrserve.training.networks.plain_cnn import PlainCNN
from cxrserve.training.networks.unet import UNet

SIDE = 64


def lungs_only() -> LungsOnly:
    return LungsOnly(MobileNetV2(labels=3, output_stride=16), UNet(labels=2), outliner_side=SIDE)


MAKERS = {
    "mobilenetv2": lambda: MobileNetV2(labels=3),
    "mobilenetv2, finer map": lambda: MobileNetV2(labels=3, output_stride=16),
    "densenet121": lambda: DenseNet121(labels=3),
    "resnet50": lambda: ResNet50(labels=3),
    "efficientnet-lite0": lambda: EfficientNetLite0(labels=3),
    "plain-cnn": lambda: PlainCNN(labels=3),
    "lungs only": lungs_only,
}


def drawn(name: str) -> Classifier:
    """A network with drawn weights, and normalisations that have seen images."""
    torch.manual_seed(1)
    network = MAKERS[name]()
    network.train()
    with torch.no_grad():
        network.read(torch.rand(8, 1, SIDE, SIDE) * 255)
    network.head.bias.data.normal_()
    return network.eval()


def films(count: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(2).integers(0, 256, (count, SIDE, SIDE), np.uint8)


@pytest.mark.parametrize("name", MAKERS)
def test_the_map_is_grad_cam_by_a_backward_pass(name: str) -> None:
    network = drawn(name)
    for label in range(3):
        assert grad_cam_difference(network, films(), label) < 1e-4


@pytest.mark.parametrize("name", MAKERS)
def test_the_maps_mean_and_the_bias_are_the_logit(name: str) -> None:
    network = drawn(name)
    with torch.inference_mode():
        logits, cam = network(torch.from_numpy(films())[:, None])
    torch.testing.assert_close(cam.mean(dim=(2, 3)) + network.head.bias, logits)


def test_a_map_before_the_last_relu_would_be_another() -> None:
    network = drawn("densenet121")
    assert isinstance(network, DenseNet121)
    images = torch.from_numpy(films())[:, None]
    with torch.inference_mode():
        before = network.backbone(network.normalised(images))
        wrong = torch.nn.functional.conv2d(before, network.head.weight[:, :, None, None])
        right = network(images)[1]
    assert (wrong - right).abs().max() > 1e-2


def test_a_finer_map_has_twice_the_side() -> None:
    coarse, fine = drawn("mobilenetv2"), drawn("mobilenetv2, finer map")
    images = torch.from_numpy(films())[:, None]
    with torch.inference_mode():
        assert coarse(images)[1].shape[-1] * 2 == fine(images)[1].shape[-1]


def test_what_lies_outside_the_lungs_is_not_seen() -> None:
    network = LungsOnly(PlainCNN(labels=3), UNet(labels=2), outliner_side=SIDE).eval()
    outline = torch.zeros(2, 1, SIDE, SIDE)
    outline[:, :, 16:48, 8:56] = 255
    pixels = torch.from_numpy(films(2))[:, None].float()
    other = torch.where(outline > 0, pixels, 255 - pixels)
    with torch.inference_mode():
        one, same = (network.read(torch.cat((p, outline), 1)).logits for p in (pixels, other))
        inside = torch.where(outline > 0, 255 - pixels, pixels)
        changed = network.read(torch.cat((inside, outline), 1)).logits
    torch.testing.assert_close(one, same)
    assert (one - changed).abs().max() > 1e-6
    torch.testing.assert_close(one, same, atol=1e-9, rtol=0)


def test_black_lungs_look_the_same_wherever_they_lie() -> None:
    network = LungsOnly(PlainCNN(labels=3), UNet(labels=2), outliner_side=SIDE).eval()
    pixels = torch.from_numpy(films(2))[:, None].float()
    outline = torch.zeros(2, 1, SIDE, SIDE)
    outline[0, :, 16:48, 8:56], outline[1, :, 5:30, 20:40] = 255, 255
    black = torch.where(outline > 0, 0.0, pixels)
    with torch.inference_mode():
        one, other = network.read(torch.cat((black, outline), 1)).logits
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet50", "lungs only"])
def test_halved_and_eight_bit_graphs_stay_near_the_exact_one(name: str, tmp_path: Path) -> None:
    network = drawn(name)
    exact, halved, eight = (tmp_path / f"{kind}.onnx" for kind in ("exact", "halved", "eight"))
    write_graph(network, exact, side=SIDE)
    pixels = films(24)[:, None]
    assert checked_parity(network, exact, pixels) <= 1e-4
    write_halved(exact, halved)
    write_int8(exact, eight, pixels)
    wanted, _ = outputs_of(exact, pixels, ["logits", "cam"])
    spread = wanted.std()
    for path, smaller, off in ((halved, 0.6, 0.02), (eight, 0.5, 0.5)):
        assert path.stat().st_size < smaller * exact.stat().st_size
        logits, cam = outputs_of(path, pixels, ["logits", "cam"])
        assert np.abs(logits - wanted).mean() < off * spread
        gap = cam.mean(axis=(2, 3)) + network.head.bias.detach().numpy() - logits
        assert np.abs(gap).max() < 1e-3


def test_masks_survive_their_graph(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = UNet(labels=2).eval()
    path = tmp_path / "model.onnx"
    write_graph(network, path, side=SIDE)
    assert checked_parity(network, path, films()[:, None]) <= 1e-4
    (mask,) = outputs_of(path, films()[:, None], ["mask"])
    assert mask.shape == (4, 2, SIDE, SIDE)
    assert 0 <= mask.min() <= mask.max() <= 1
