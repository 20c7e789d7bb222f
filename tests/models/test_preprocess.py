"""Fitting a radiograph into the network's square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit, placement, preprocessing_digest


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


shapes = st.tuples(st.integers(40, 400), st.integers(40, 400))
hows = st.builds(Input, side=st.integers(32, 256), fit=st.sampled_from(["stretch", "pad", "crop"]))


@given(shape=shapes, how=hows, data=st.data())
def test_a_place_in_the_square_is_where_the_image_says_it_is(
    shape: tuple[int, int], how: Input, data: st.DataObject
) -> None:
    height, width = shape
    pixels = np.zeros(shape, np.uint8)
    left, top = data.draw(st.integers(0, width - 16)), data.draw(st.integers(0, height - 16))
    pixels[top : top + 16, left : left + 16] = 255
    fitted = fit(pixels, how).astype(np.float64)
    where = placement(shape, how)
    corner, opposite = where.to_square(left, top), where.to_square(left + 16, top + 16)
    # Not what is partly cut off, or touched by the border's resampling.
    assume(min(corner) >= 2 and max(opposite) <= how.side - 2)
    for axis, (first, last) in enumerate(zip(corner, opposite, strict=True)):
        weights = fitted.sum(axis=axis)
        centres = np.arange(how.side) + 0.5
        middle = (weights * centres).sum() / weights.sum()
        assert middle == pytest.approx((first + last) / 2, abs=0.15)


@given(shape=shapes, how=hows, factor=st.integers(1, 8), x=st.floats(0, 1), y=st.floats(0, 1))
def test_there_and_back_is_the_same_place_at_whatever_scale_it_was_decoded(
    shape: tuple[int, int], how: Input, factor: int, x: float, y: float
) -> None:
    height, width = shape
    sent = placement(shape, how, width=width * factor, height=height * factor)
    across, down = x * width * factor, y * height * factor
    back = sent.to_image(*sent.to_square(across, down))
    assert back == pytest.approx((across, down), abs=1e-6)
    decoded = placement(shape, how).to_square(x * width, y * height)
    assert sent.to_square(across, down) == pytest.approx(decoded, abs=1e-6)


@given(shape=shapes, side=st.integers(32, 256))
def test_stretch_maps_corner_to_corner(shape: tuple[int, int], side: int) -> None:
    where = placement(shape, Input(side=side, fit="stretch"))
    assert where.to_square(0.0, 0.0) == (0, 0)
    assert where.to_square(float(shape[1]), float(shape[0])) == pytest.approx((side, side))
