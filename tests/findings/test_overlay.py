"""The picture of a class map can be read without knowing how it was made."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cxrserve.findings.evidence import Map
from cxrserve.findings.overlay import (
    NOTICE,
    SCALE,
    Caption,
    blended,
    draw_overlay,
    evidence_in_image,
)
from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import placement

CAPTION = Caption(label="pneumonia", probability=0.731, model="tiny 1.0.0", shape=(7, 7))


def drawn(
    pixels: np.ndarray, evidence: Map, *, fit: str = "stretch", scale: int = 1
) -> Image.Image:
    how = Input.model_validate({"side": 224, "fit": fit})
    height, width = pixels.shape
    where = placement((height, width), how, width=width * scale, height=height * scale)
    return Image.open(io.BytesIO(draw_overlay(pixels, evidence, where, CAPTION)))


def test_the_caption_says_everything_that_is_needed_to_read_the_picture() -> None:
    text = " | ".join(CAPTION.sentences())
    for part in ("pneumonia", "0.731", "tiny 1.0.0", "7x7 map", "region, not outline", NOTICE):
        assert part in text


def test_the_colours_are_absolute_and_not_stretched_to_each_map() -> None:
    grey = np.full((10, 10), 128, np.uint8)
    weak = blended(grey, np.full((10, 10), 0.4, np.float32))
    strong = blended(grey, np.full((10, 10), SCALE, np.float32))
    assert np.abs(weak.astype(int) - 128).max() < 15
    assert np.abs(strong.astype(int) - 128).max() > 60
    assert np.array_equal(strong, blended(grey, np.full((10, 10), 40.0, np.float32)))


def test_what_speaks_for_is_red_what_speaks_against_is_blue_and_neither_is_the_film() -> None:
    grey = np.full((1, 3), 100, np.uint8)
    against, neither, for_ = blended(grey, np.array([[-4.0, 0.0, 4.0]], np.float32))[0].astype(int)
    assert against[2] > against[0]
    assert neither.tolist() == [100, 100, 100]
    assert for_[0] > for_[2]


@pytest.mark.parametrize(
    ("shape", "scale", "shown"),
    [
        ((600, 800), 1, (800, 600)),
        ((600, 800), 4, (1024, 768)),
        ((3000, 1500), 1, (512, 1024)),
        ((96, 128), 1, (512, 384)),
    ],
)
def test_the_film_keeps_its_shape_and_is_at_most_1024_pixels_long(
    shape: tuple[int, int], scale: int, shown: tuple[int, int]
) -> None:
    film = np.full(shape, 77, np.uint8)
    picture = drawn(film, np.zeros((7, 7), np.float32), scale=scale)
    assert picture.width > shown[0]
    assert picture.height > shown[1]
    colours = np.asarray(picture)
    assert (colours[: shown[1], : shown[0]] == 77).all()
    assert (colours[shown[1] :] == 235).any(), "no caption was written"
    assert (colours[: shown[1], shown[0] :] != 0).any(), "no colour bar was drawn"


def test_the_colour_lies_where_the_evidence_does() -> None:
    evidence = np.full((7, 7), -1.0, np.float32)
    evidence[1, 5] = 4.0
    colours = np.asarray(drawn(np.full((700, 700), 90, np.uint8), evidence)).astype(int)
    redness = colours[:700, :700, 0] - colours[:700, :700, 2]
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    assert (row, column) == (pytest.approx(150, abs=3), pytest.approx(550, abs=3))


def test_what_a_network_did_not_see_has_no_colour() -> None:
    how = Input(side=224, fit="crop")
    seen = evidence_in_image(np.full((7, 7), 3.0, np.float32), placement((100, 300), how), 300, 100)
    assert (seen[:, :99] == 0).all()
    assert seen[:, 101:199] == pytest.approx(3)
    assert (seen[:, 201:] == 0).all()


def test_nothing_but_pixels_is_in_the_file() -> None:
    picture = drawn(np.zeros((400, 400), np.uint8), np.zeros((7, 7), np.float32))
    assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})
