"""What the gate must tell from a chest: drawn, photographed, turned, inverted, cut out.

Every family is made here from random numbers, from photographs that free packages carry, or from
the training films themselves; families that need photographs are fed by `photographs`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from cxrserve.radiograph.phantom import draw_phantom

Grey = NDArray[np.uint8]
Randomness = np.random.Generator
Family = Callable[[Randomness], Grey]

_SIDE = 192
_WORDS = [
    "report",
    "patient",
    "chest",
    "view",
    "normal",
    "heart",
    "lungs",
    "clear",
    "no",
    "acute",
    "finding",
    "invoice",
    "total",
    "name",
    "date",
    "table",
    "figure",
    "page",
    "the",
    "and",
    "of",
    "to",
    "in",
    "is",
    "that",
    "for",
    "was",
    "with",
    "on",
    "as",
    "by",
    "at",
    "from",
]


def noise(rng: Randomness) -> Grey:
    """White, coloured, salt-and-pepper or coarse noise."""
    cells = int(rng.choice([_SIDE, _SIDE, 96, 48, 24, 12, 6]))
    values = rng.normal(rng.uniform(60, 190), rng.uniform(10, 90), (cells, cells))
    if rng.random() < 0.25:
        values = np.where(rng.random((cells, cells)) < 0.5, 0, 255)
    return _resized(np.clip(values, 0, 255).astype(np.uint8))


def gradient(rng: Randomness) -> Grey:
    """Linear or radial ramps, with or without steps."""
    y, x = np.mgrid[0 : 1 : _SIDE * 1j, 0 : 1 : _SIDE * 1j]
    ramp = (
        np.hypot(x - rng.random(), y - rng.random())
        if rng.random() < 0.4
        else (x * rng.normal() + y * rng.normal())
    )
    ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    if rng.random() < 0.5:
        steps = rng.integers(3, 24)
        ramp = np.floor(ramp * steps) / steps
    grey: Grey = (ramp * 255).astype(np.uint8)
    return grey


def pattern(rng: Randomness) -> Grey:
    """Bars, checks, rings and step wedges, as on test charts."""
    image = Image.new("L", (_SIDE, _SIDE), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(image)
    count, kind = int(rng.integers(2, 17)), rng.integers(0, 4)
    size = _SIDE / count
    for row in range(count):
        for column in range(count):
            grey = int(255 * (row * count + column) / count**2)
            grey = grey if rng.random() < 0.9 else int(rng.integers(0, 256))
            box = (column * size, row * size, (column + 1) * size, (row + 1) * size)
            if kind == 0:
                draw.rectangle(box, fill=grey)
            elif kind == 1:
                draw.rectangle(box, fill=255 * ((row + column) % 2))
            elif kind == 2:
                draw.rectangle((0, row * size, _SIDE, (row + 1) * size), fill=grey)
            else:
                inset = row * _SIDE / count / 2
                draw.ellipse((inset, inset, _SIDE - inset, _SIDE - inset), fill=255 * (row % 2))
    return _perhaps_turned(np.asarray(image), rng)


def document(rng: Randomness) -> Grey:
    """Pages of text, tables and traces, dark on light or light on dark."""
    image = Image.new("L", (2 * _SIDE, int(2 * _SIDE * rng.uniform(0.8, 1.4))), 255)
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(7, 30))
    font, y = ImageFont.load_default(size=size), 14
    while y < image.height - size:
        kind = rng.random()
        if kind < 0.75:
            words = " ".join(rng.choice(_WORDS, int(rng.integers(1, 14))))
            draw.text(
                (int(rng.integers(8, 30)), y), words, fill=int(rng.integers(0, 90)), font=font
            )
        elif kind < 0.88:
            draw.line((10, y, image.width - 10, y), fill=80, width=int(rng.integers(1, 3)))
        else:
            xs = np.arange(10, image.width - 10, 2)
            ys = y + size * np.cumsum(rng.normal(0, 0.2, xs.size))
            draw.line([(float(a), float(b)) for a, b in zip(xs, ys, strict=True)], fill=30)
        y += int(size * rng.uniform(1.1, 2.0))
    page = np.asarray(image)
    return 255 - page if rng.random() < 0.25 else page


def blank(rng: Randomness) -> Grey:
    """An unexposed or saturated detector."""
    level = rng.uniform(0, 255)
    return np.clip(rng.normal(level, rng.uniform(0, 6), (_SIDE, _SIDE)), 0, 255).astype(np.uint8)


def limb(rng: Randomness) -> Grey:
    """Drawn bones with soft tissue: fingers, long bones with joints, skulls, pelves."""
    flesh = Image.new("L", (_SIDE, _SIDE))
    bone = Image.new("L", (_SIDE, _SIDE))
    marrow = Image.new("L", (_SIDE, _SIDE))
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
    total = total + rng.normal(0, rng.uniform(1, 7), (_SIDE, _SIDE)) + rng.uniform(0, 40)
    shown = np.clip(total, 0, 255).astype(np.uint8)
    return _perhaps_turned(shown, rng)


def phantom(rng: Randomness) -> Grey:
    """One of our own phantoms."""
    return _PHANTOMS(int(rng.integers(0, 48)))


def photograph(photographs: Sequence[Grey]) -> Family:
    """Cut-outs of photographs, sometimes inverted, turned or flattened."""

    def family(rng: Randomness) -> Grey:
        whole = photographs[int(rng.integers(len(photographs)))]
        height, width = whole.shape
        side = int(min(height, width) * rng.uniform(0.3, 1.0))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        cut = _resized(whole[top : top + side, left : left + side])
        cut = _perhaps_turned(cut, rng)
        if rng.random() < 0.3:
            cut = 255 - cut
        if rng.random() < 0.3:
            blurred = Image.fromarray(cut).filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
            cut = np.asarray(blurred)
        return cut

    return family


def cut_out(films: Sequence[Grey]) -> Family:
    """A part of a chest film that shows no two lungs: shoulder, belly, arm; often long on black."""

    def family(rng: Randomness) -> Grey:
        film = films[int(rng.integers(len(films)))]
        height, width = film.shape
        kind = rng.integers(0, 4)
        if kind == 0:
            part = film[int(height * rng.uniform(0.70, 0.78)) :]
        elif kind == 1:
            part = film[: int(height * rng.uniform(0.2, 0.3)), : int(width * rng.uniform(0.3, 1))]
        else:
            tall, wide = (0.5, 0.16) if kind == 2 else (0.3, 0.3)
            tall, wide = int(height * tall * rng.uniform(0.8, 1.2)), int(width * wide)
            top, left = int(rng.integers(height - tall)), int(rng.integers(width - wide))
            part = film[top : top + tall, left : left + wide]
        if part.shape[0] >= 8 and part.shape[1] >= 8 and kind == 2:
            square = np.full((max(part.shape),) * 2, int(rng.integers(0, 30)), np.uint8)
            left = (square.shape[1] - part.shape[1]) // 2
            square[: part.shape[0], left : left + part.shape[1]] = part
            part = square
        return _perhaps_turned(_resized(part), rng)

    return family


def photographed_film(film: Grey, rng: Randomness) -> Grey:
    """A film as a phone sees it: perspective, surround, moire, glare, uneven light, blur."""
    height, width = film.shape
    surround = Image.new("L", (width, height), int(rng.choice([10, 40, 120, 200, 245])))
    margin = rng.uniform(0.0, 0.14, 8) * np.array([width, height] * 4)
    source = [0, 0, width, 0, width, height, 0, height]
    inward = np.array([1, 1, -1, 1, -1, -1, 1, -1]) * margin
    target = [float(a + b) for a, b in zip(source, inward, strict=True)]
    warped = Image.fromarray(film).transform(
        (width, height), Image.Transform.PERSPECTIVE, _homography(target, source),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    mask = Image.new("L", (width, height))
    corners = [(target[i], target[i + 1]) for i in range(0, 8, 2)]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    surround.paste(warped, mask=mask)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = 1 - rng.uniform(0.1, 0.5) * np.hypot(x - rng.random(), y - rng.random())
    shown = np.asarray(surround, np.float32) * light
    if rng.random() < 0.7:
        angle, period = rng.uniform(0, np.pi), rng.uniform(2.2, 9)
        wave = np.sin(2 * np.pi / period * (x * width * np.cos(angle) + y * height * np.sin(angle)))
        shown += rng.uniform(4, 16) * wave
    if rng.random() < 0.6:
        spot = np.exp(
            -((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / rng.uniform(0.004, 0.04)
        )
        shown += rng.uniform(40, 160) * spot
    image = Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0))))


def exposed(film: Grey, rng: Randomness) -> Grey:
    """Another technician's film of the same chest: framing, exposure, marker, coding."""
    image = Image.fromarray(film)
    image = image.rotate(rng.uniform(-10, 10), Image.Resampling.BILINEAR, fillcolor=0)
    width, height = image.size
    crop = rng.uniform(0, 0.07, 4)
    image = image.crop(
        (int(width * crop[0]), int(height * crop[1]),
         int(width * (1 - crop[2])), int(height * (1 - crop[3])))
    )  # fmt: skip
    if rng.random() < 0.3:
        stretched = (int(width * rng.uniform(0.82, 1.2)), height)
        image = image.resize(stretched, Image.Resampling.BILINEAR)
    if rng.random() < 0.35:
        image = _framed(image, rng)
    values = np.asarray(image, np.float32) / 255
    values = values ** rng.uniform(0.65, 1.5) * rng.uniform(0.75, 1.1) + rng.uniform(-0.05, 0.12)
    if rng.random() < 0.15:
        values += rng.normal(0, rng.uniform(0, 0.1), values.shape)
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.8)))
    if rng.random() < 0.3:
        draw = ImageDraw.Draw(image)
        place = (int(rng.integers(0, image.width)), int(rng.integers(0, image.height // 3)))
        draw.text(place, str(rng.choice(["L", "R", "AP", "PORTABLE"])), fill=255)
    if rng.random() < 0.3:
        coded = io.BytesIO()
        image.save(coded, "JPEG", quality=int(rng.integers(25, 90)))
        image = Image.open(coded)
    return np.asarray(image)


def on_a_screen(pixels: Grey, rng: Randomness) -> Grey:
    """The picture with the borders that screens and copying programs put around it."""
    return np.asarray(_framed(Image.fromarray(pixels), rng))


def _framed(image: Image.Image, rng: Randomness) -> Image.Image:
    """Borders on one or both axes, up to those of a wide screen's picture."""
    wide = rng.uniform(1.0, 1.85) if rng.random() < 0.6 else rng.uniform(1.0, 1.2)
    tall = rng.uniform(1.0, 1.6) if rng.random() < 0.25 else rng.uniform(1.0, 1.12)
    edge = int(rng.choice([0, 0, 0, 40, 255]))
    framed = Image.new("L", (int(image.width * wide), int(image.height * tall)), edge)
    free = framed.width - image.width, framed.height - image.height
    place = (free[0] // 2, free[1] // 2) if rng.random() < 0.6 else rng.integers(0, np.add(free, 1))
    framed.paste(image, (int(place[0]), int(place[1])))
    return framed


class _Phantoms:
    """Phantoms are slow to draw; each seed is drawn once."""

    def __init__(self) -> None:
        self._drawn: dict[int, Grey] = {}

    def __call__(self, seed: int) -> Grey:
        if seed not in self._drawn:
            self._drawn[seed] = draw_phantom(side=_SIDE, seed=seed)
        return self._drawn[seed]


_PHANTOMS = _Phantoms()


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
            wide = max(1, int(width * thick * _SIDE))
            line = [(x * _SIDE, y * _SIDE), (end[0] * _SIDE, end[1] * _SIDE)]
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
        box = ((x - a) * _SIDE, (y - b) * _SIDE, (x + a) * _SIDE, (y + b) * _SIDE)
        ImageDraw.Draw(layer).ellipse(box, fill=255)

    oval(flesh, 0.5, 0.45, half_width + 0.03, half_height + 0.03)
    oval(bone, 0.5, 0.45, half_width, half_height)
    oval(marrow, 0.5, 0.45, half_width - 0.03, half_height - 0.03)
    for side in (-1, 1):
        oval(marrow, 0.5 + side * 0.12, 0.52, 0.07, 0.055)
    ImageDraw.Draw(bone).rectangle([0.4 * _SIDE, 0.75 * _SIDE, 0.6 * _SIDE, 0.95 * _SIDE], fill=200)


def _draw_pelvis(
    rng: Randomness, flesh: Image.Image, bone: Image.Image, marrow: Image.Image
) -> None:
    ImageDraw.Draw(flesh).rectangle([0.05 * _SIDE, 0, 0.95 * _SIDE, _SIDE], fill=255)
    for side in (-1, 1):
        x = 0.5 + side * rng.uniform(0.2, 0.26)
        box = [(x - 0.17) * _SIDE, 0.2 * _SIDE, (x + 0.17) * _SIDE, 0.6 * _SIDE]
        ImageDraw.Draw(bone).ellipse(box, fill=200)
        hole = [(x - 0.07) * _SIDE, 0.62 * _SIDE, (x + 0.03) * _SIDE, 0.74 * _SIDE]
        ImageDraw.Draw(marrow).ellipse(hole, fill=255)
        _draw_chain(rng, (flesh, bone, marrow), (x + side * 0.05, 0.6), np.pi / 2,
                    lengths=np.array([0.6]), width=0.09)  # fmt: skip
    ImageDraw.Draw(bone).rectangle([0.44 * _SIDE, 0, 0.56 * _SIDE, 0.45 * _SIDE], fill=190)


def _homography(target: Sequence[float], source: Sequence[float]) -> list[float]:
    """The eight coefficients that map target corners to source corners, as Pillow wants them."""
    rows, values = [], []
    for i in range(0, 8, 2):
        x, y, u, v = target[i], target[i + 1], source[i], source[i + 1]
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(values))]


def _perhaps_turned(pixels: Grey, rng: Randomness) -> Grey:
    return np.ascontiguousarray(np.rot90(pixels, int(rng.integers(0, 4))))


def _resized(pixels: Grey) -> Grey:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def _soft(image: Image.Image, radius: float) -> NDArray[np.float32]:
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return blurred / np.float32(255)
