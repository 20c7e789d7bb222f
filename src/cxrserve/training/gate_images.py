"""What the gate must tell from a chest: drawn, photographed, turned, inverted, cut out.

Every family is made here from random numbers, from photographs that free packages carry, or from
the training films themselves; families that need photographs are fed by `photographs`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cxrserve.radiograph.phantom import draw_phantom

Grey = NDArray[np.uint8]
Randomness = np.random.Generator
Family = Callable[[Randomness], Grey]

SIDE = 192
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
    cells = int(rng.choice([SIDE, SIDE, 96, 48, 24, 12, 6]))
    values = rng.normal(rng.uniform(60, 190), rng.uniform(10, 90), (cells, cells))
    if rng.random() < 0.25:
        values = np.where(rng.random((cells, cells)) < 0.5, 0, 255)
    return _resized(np.clip(values, 0, 255).astype(np.uint8))


def gradient(rng: Randomness) -> Grey:
    """Linear or radial ramps, with or without steps."""
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
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
    image = Image.new("L", (SIDE, SIDE), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(image)
    count, kind = int(rng.integers(2, 17)), rng.integers(0, 4)
    size = SIDE / count
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
                draw.rectangle((0, row * size, SIDE, (row + 1) * size), fill=grey)
            else:
                inset = row * SIDE / count / 2
                draw.ellipse((inset, inset, SIDE - inset, SIDE - inset), fill=255 * (row % 2))
    return perhaps_turned(np.asarray(image), rng)


def document(rng: Randomness) -> Grey:
    """Pages of text, tables and traces, dark on light or light on dark."""
    image = Image.new("L", (2 * SIDE, int(2 * SIDE * rng.uniform(0.8, 1.4))), 255)
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
    return np.clip(rng.normal(level, rng.uniform(0, 6), (SIDE, SIDE)), 0, 255).astype(np.uint8)


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
        cut = perhaps_turned(cut, rng)
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
        return perhaps_turned(_resized(part), rng)

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
            self._drawn[seed] = draw_phantom(side=SIDE, seed=seed)
        return self._drawn[seed]


_PHANTOMS = _Phantoms()


def _homography(target: Sequence[float], source: Sequence[float]) -> list[float]:
    """The eight coefficients that map target corners to source corners, as Pillow wants them."""
    rows, values = [], []
    for i in range(0, 8, 2):
        x, y, u, v = target[i], target[i + 1], source[i], source[i + 1]
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(values))]


def perhaps_turned(pixels: Grey, rng: Randomness) -> Grey:
    """Turned by a random number of quarters."""
    return np.ascontiguousarray(np.rot90(pixels, int(rng.integers(0, 4))))


def _resized(pixels: Grey) -> Grey:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
