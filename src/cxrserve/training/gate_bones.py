"""Drawn bones with soft tissue, where no real radiograph of another body part is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from cxrserve.training.gate_images import SIDE, Grey, Randomness, perhaps_turned


def limb(rng: Randomness) -> Grey:
    """Drawn bones with soft tissue: fingers, long bones with joints, skulls, pelves."""
    flesh = Image.new("L", (SIDE, SIDE))
    bone = Image.new("L", (SIDE, SIDE))
    marrow = Image.new("L", (SIDE, SIDE))
    kind = rng.integers(0, 5)
    if kind == 0:
        _draw_hand(rng, flesh, bone, marrow)
    elif kind in (1, 2):
        for _ in range(int(rng.integers(1, 3))):
            start = rng.uniform(0.25, 0.75), rng.uniform(-0.1, 0.1)
            _draw_chain(
                rng,
                (flesh, bone, marrow),
                start,
                np.pi / 2 + rng.normal(0, 0.12),
                lengths=rng.uniform(0.35, 0.7, 3),
                width=rng.uniform(0.06, 0.13),
            )
    elif kind == 3:
        _draw_skull(rng, flesh, bone, marrow)
    else:
        _draw_pelvis(rng, flesh, bone, marrow)
    layers = [_soft(flesh, 4), _soft(bone, 1.2), _soft(marrow, 1.5)]
    weights = rng.uniform(40, 110), rng.uniform(70, 150), -rng.uniform(10, 60)
    total = sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
    total = total + rng.normal(0, rng.uniform(1, 7), (SIDE, SIDE)) + rng.uniform(0, 40)
    shown = np.clip(total, 0, 255).astype(np.uint8)
    return perhaps_turned(shown, rng)


def _draw_chain(
    rng: Randomness,
    layers: tuple[Image.Image, Image.Image, Image.Image],
    start: tuple[float, float],
    angle: float,
    *,
    lengths: NDArray[np.float64],
    width: float,
) -> None:
    flesh, bone, marrow = layers
    x, y = start
    for length in lengths:
        end = x + np.cos(angle) * length, y + np.sin(angle) * length
        for layer, thick, fill in ((flesh, 2.6, 255), (bone, 1.0, 255), (marrow, 0.55, 255)):
            wide = max(1, int(width * thick * SIDE))
            line = [(x * SIDE, y * SIDE), (end[0] * SIDE, end[1] * SIDE)]
            drawn = Image.new("L", layer.size)
            ImageDraw.Draw(drawn).line(line, fill=fill, width=wide)
            if layer is not marrow:
                radius = wide * (0.5 if layer is flesh else 0.72)
                for px, py in line:
                    box = (px - radius, py - radius, px + radius, py + radius)
                    ImageDraw.Draw(drawn).ellipse(box, fill=fill)
            layer.paste(ImageChops.lighter(layer, drawn))
        gap = width * 0.35
        x, y = end[0] + np.cos(angle) * gap, end[1] + np.sin(angle) * gap
        angle += rng.normal(0, 0.12)


def _draw_hand(rng: Randomness, *layers: Image.Image) -> None:
    flesh, bone, marrow = layers
    for finger in range(5):
        spread = (finger - 2) * rng.uniform(0.12, 0.2)
        start = 0.5 + (finger - 2) * 0.075, 0.72
        lengths = np.array([0.2, 0.15, 0.09, 0.06]) * rng.uniform(0.8, 1.1)
        _draw_chain(rng, (flesh, bone, marrow), start, -np.pi / 2 + spread,
                    lengths=lengths, width=rng.uniform(0.025, 0.04))  # fmt: skip
    for offset in (-0.06, 0.06):
        _draw_chain(rng, (flesh, bone, marrow), (0.5 + offset, 1.1), -np.pi / 2,
                    lengths=np.array([0.32]), width=0.06)  # fmt: skip


def _draw_skull(
    rng: Randomness, flesh: Image.Image, bone: Image.Image, marrow: Image.Image
) -> None:
    half_width, half_height = rng.uniform(0.25, 0.36), rng.uniform(0.32, 0.42)

    def oval(layer: Image.Image, x: float, y: float, a: float, b: float) -> None:
        box = ((x - a) * SIDE, (y - b) * SIDE, (x + a) * SIDE, (y + b) * SIDE)
        ImageDraw.Draw(layer).ellipse(box, fill=255)

    oval(flesh, 0.5, 0.45, half_width + 0.03, half_height + 0.03)
    oval(bone, 0.5, 0.45, half_width, half_height)
    oval(marrow, 0.5, 0.45, half_width - 0.03, half_height - 0.03)
    for side in (-1, 1):
        oval(marrow, 0.5 + side * 0.12, 0.52, 0.07, 0.055)
    ImageDraw.Draw(bone).rectangle([0.4 * SIDE, 0.75 * SIDE, 0.6 * SIDE, 0.95 * SIDE], fill=200)


def _draw_pelvis(
    rng: Randomness, flesh: Image.Image, bone: Image.Image, marrow: Image.Image
) -> None:
    ImageDraw.Draw(flesh).rectangle([0.05 * SIDE, 0, 0.95 * SIDE, SIDE], fill=255)
    for side in (-1, 1):
        x = 0.5 + side * rng.uniform(0.2, 0.26)
        box = [(x - 0.17) * SIDE, 0.2 * SIDE, (x + 0.17) * SIDE, 0.6 * SIDE]
        ImageDraw.Draw(bone).ellipse(box, fill=200)
        hole = [(x - 0.07) * SIDE, 0.62 * SIDE, (x + 0.03) * SIDE, 0.74 * SIDE]
        ImageDraw.Draw(marrow).ellipse(hole, fill=255)
        _draw_chain(rng, (flesh, bone, marrow), (x + side * 0.05, 0.6), np.pi / 2,
                    lengths=np.array([0.6]), width=0.09)  # fmt: skip
    ImageDraw.Draw(bone).rectangle([0.44 * SIDE, 0, 0.56 * SIDE, 0.45 * SIDE], fill=190)


def _soft(image: Image.Image, radius: float) -> NDArray[np.float32]:
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return blurred / np.float32(255)
