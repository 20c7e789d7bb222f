"""A plot sheet: for each finding three films that were rightly called, one that was not.

The films are real, so the sheet is written to a folder that git does not track.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrserve.engines.engine import Outputs
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.findings.evidence import evidence_of
from cxrserve.findings.interpret import find
from cxrserve.findings.overlay import Caption, draw_overlay
from cxrserve.models.manifest import Manifest
from cxrserve.models.package import ModelPackage
from cxrserve.models.preprocess import placement
from cxrserve.training.datasets import Box, Examples, Film, UnusableData, load_examples
from cxrserve.training.localisation import boxes_named
from cxrserve.training.recipe import Recipe

RIGHTLY, WRONGLY = 3, 1
_WIDTH = 420
_HEAD = 26


@dataclass(frozen=True, slots=True)
class _Read:
    """A film as the package reads it, alone."""

    film: Film
    pixels: NDArray[np.uint8]
    outputs: Outputs


def draw_sheet(recipe: Recipe, package: ModelPackage, *, data: Path, out: Path) -> Path:
    """Write `<package>.png`: a row a finding, its surest true positives, then false positives.

    Films are of the test split, drawn at the network's square, with a reader's boxes in green
    where there are any. A row says so where there are too few.

    Args:
        recipe: which films the package is tested on.
        package: the package, as it would be served.
        out: folder to write into; it must not be one that git tracks.

    Raises:
        UnusableData: the package makes masks, or there are no films.
    """
    manifest = package.manifest
    if manifest.task == "segmentation":
        raise UnusableData(f"{manifest.name} has no findings to draw")
    examples = load_examples(data, recipe, "test")
    read = _read(package, examples)
    rows = [
        _row(manifest, label, examples, read)
        for label in range(len(manifest.labels))
        if manifest.labels[label].finding and manifest.labels[label].trained
    ]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{manifest.name}.png"
    sheet.save(path)
    return path


def _read(package: ModelPackage, examples: Examples) -> list[_Read]:
    engine = load_onnx_cpu(package)
    read = []
    for film, pixels in zip(examples.films, examples.pixels, strict=True):
        outputs = engine.run(pixels[None, None])
        assert isinstance(outputs, Outputs)
        read.append(_Read(film, pixels, outputs))
    engine.close()
    return read


def _row(manifest: Manifest, label: int, examples: Examples, read: Sequence[_Read]) -> Image.Image:
    point = manifest.default_operating_point
    findings = [find(manifest, one.outputs.logits[0], point)[label] for one in read]
    sure = np.array([finding.probability or 0.0 for finding in findings])
    called = np.array([bool(finding.positive) for finding in findings])
    truth = examples.targets[:, label] == 1
    tiles = []
    for kind, wanted, among in (
        ("true positive", RIGHTLY, called & truth),
        ("false positive", WRONGLY, called & ~truth),
    ):
        surest = [int(index) for index in np.argsort(-sure) if among[index]][:wanted]
        tiles += [_tile(manifest, label, read[index], sure[index], kind) for index in surest]
        tiles += [_nothing(f"no further {kind}") for _ in range(wanted - len(surest))]
    row = Image.new("RGB", (sum(t.width for t in tiles), max(t.height for t in tiles)))
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width
    return row


def _tile(manifest: Manifest, label: int, one: _Read, probability: float, kind: str) -> Image.Image:
    name = manifest.labels[label].name
    evidence = evidence_of(one.outputs, label, manifest.activation)
    where = placement(
        one.pixels.shape, manifest.input, width=one.pixels.shape[1], height=one.pixels.shape[0]
    )
    height, width = evidence.shape
    caption = Caption(
        label=name,
        probability=float(probability),
        model=f"{manifest.name} {manifest.version}",
        shape=(height, width),
    )
    drawn = Image.open(io.BytesIO(draw_overlay(one.pixels, evidence, where, caption))).copy()
    _outline(drawn, boxes_named(one.film, name))
    drawn = drawn.resize((_WIDTH, round(drawn.height * _WIDTH / drawn.width)))
    return _headed(drawn, f"{kind}; reader: {', '.join(one.film.labels) or 'no finding'}")


def _outline(drawn: Image.Image, boxes: Sequence[Box]) -> None:
    """A reader's boxes; the film stands at the top left, 384 pixels square."""
    side = 384
    pen = ImageDraw.Draw(drawn)
    for box in boxes:
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        pen.rectangle([round(side * at) for at in corners], outline=(0, 255, 90), width=2)


def _headed(picture: Image.Image, text: str) -> Image.Image:
    tile = Image.new("RGB", (picture.width, picture.height + _HEAD))
    tile.paste(picture, (0, _HEAD))
    ImageDraw.Draw(tile).text(
        (6, 5), text[:60], fill=(235, 235, 235), font=ImageFont.load_default(size=14)
    )
    return tile


def _nothing(text: str) -> Image.Image:
    return _headed(Image.new("RGB", (_WIDTH, _WIDTH // 2), (40, 40, 40)), text)
