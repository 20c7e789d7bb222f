"""Fitting a radiograph into the network's square."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit, preprocessing_digest


def wide() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[:, 50:150] = 200
    return pixels


def test_stretching_fills_the_square() -> None:
    fitted = fit(wide(), Input(side=64, fit="stretch"))
    assert fitted.shape == (64, 64)
    assert fitted.dtype == np.uint8
    assert (fitted[:, 20:44] == 200).all()


def test_padding_keeps_the_aspect_ratio_on_black() -> None:
    fitted = fit(wide(), Input(side=64, fit="pad"))
    assert (fitted[:15] == 0).all()
    assert (fitted[49:] == 0).all()
    assert (fitted[20:44, 20:44] == 200).all()


def test_cropping_takes_the_centre() -> None:
    assert (fit(wide(), Input(side=64, fit="crop")) == 200).all()


def test_an_image_of_the_right_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert np.array_equal(fit(pixels, Input(side=64)), pixels)


@pytest.mark.parametrize("other", [Input(side=65), Input(side=64, fit="pad")])
def test_another_preprocessing_has_another_digest(other: Input) -> None:
    assert preprocessing_digest(Input(side=64)) != preprocessing_digest(other)
