"""Lung masks: areas in the image that was sent, the cardiothoracic ratio, and other squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.engines.engine import Masks
from cxrserve.findings.lungs import (
    area_cm2,
    cardiothoracic_ratio,
    extent,
    lungs_to_keep_to,
    moved,
    organ,
)
from cxrserve.findings.parts import Mask
from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit, placement

LABELS = ("right_lung", "left_lung")
SIDE = 100


def block(left: int, right: int, top: int = 10, bottom: int = 90) -> Mask:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def chest() -> tuple[Mask, Mask]:
    """Lungs from 10 to 90 with a gap of 10; below the middle a heart of 30; a recess at the end."""
    right, left = block(10, 45), block(55, 90)
    right[60:80, 40:] = left[60:80, :70] = False
    right[80:, 15:] = left[80:, :85] = False
    return right, left


def test_the_ratio_is_heart_over_thorax() -> None:
    assert cardiothoracic_ratio(*chest()) == pytest.approx(30 / 80)


def test_the_gap_above_the_middle_and_below_the_diaphragm_is_no_heart() -> None:
    right, left = chest()
    left[15:20, :80] = False  # a bullous gap above the middle
    assert cardiothoracic_ratio(right, left) == pytest.approx(30 / 80)
    right[60:80, 40:45] = left[60:80, 55:70] = True  # no heart left, the recess still is there
    assert cardiothoracic_ratio(right, left) == pytest.approx(10 / 80)


def test_the_ratio_is_the_same_on_a_mirrored_film() -> None:
    right, left = chest()
    assert cardiothoracic_ratio(right[:, ::-1], left[:, ::-1]) == cardiothoracic_ratio(right, left)


@pytest.mark.parametrize("missing", [0, 1])
def test_there_is_no_ratio_without_both_lungs(missing: int) -> None:
    lungs = list(chest())
    lungs[missing] = block(10, 12, 10, 12)
    assert cardiothoracic_ratio(*lungs) is None


def test_there_is_no_ratio_of_lungs_that_share_no_row() -> None:
    assert cardiothoracic_ratio(block(10, 40, 0, 45), block(60, 90, 50, 90)) is None


def test_lungs_that_touch_leave_no_room_for_a_heart() -> None:
    assert cardiothoracic_ratio(block(10, 52), block(48, 90)) == 0


@given(
    height=st.integers(60, 300),
    width=st.integers(60, 300),
    how=st.sampled_from(["stretch", "pad", "crop"]),
    scale=st.integers(1, 4),
)
def test_area_and_box_are_those_of_the_image_that_was_sent(
    height: int, width: int, how: str, scale: int
) -> None:
    middle_x, middle_y = width // 2, height // 2
    pixels = np.zeros((height, width), np.uint8)
    pixels[middle_y - 15 : middle_y + 15, middle_x - 20 : middle_x + 20] = 255
    input_ = Input.model_validate({"side": 256, "fit": how})
    where = placement(pixels.shape, input_, width=width * scale, height=height * scale)
    found = extent(np.asarray(fit(pixels, input_) > 127), where)
    assert found is not None
    assert found.pixels == pytest.approx(1200 * scale**2, rel=0.12)
    assert found.share == pytest.approx(1200 / (width * height), rel=0.12)
    coarse = 1.1 * scale * max(1.0, max(height, width) / 256)
    assert found.left == pytest.approx((middle_x - 20) * scale, abs=coarse)
    assert found.top == pytest.approx((middle_y - 15) * scale, abs=coarse)
    assert found.width == pytest.approx(40 * scale, abs=2 * coarse)
    assert found.height == pytest.approx(30 * scale, abs=2 * coarse)


@pytest.mark.parametrize("shape", [(50, 100), (100, 50)])
def test_what_lies_in_a_pads_border_is_no_part_of_the_image(shape: tuple[int, int]) -> None:
    where = placement(shape, Input(side=64, fit="pad"))
    found = extent(np.ones((32, 32), np.bool_), where)
    assert found is not None
    assert (found.share, found.left, found.top) == pytest.approx((1, 0, 0))
    assert (found.height, found.width) == pytest.approx(shape)
    border = np.zeros((32, 32), np.bool_)
    border[:8] = True
    assert extent(border if shape[0] < shape[1] else border.T, where) is None


def test_an_area_takes_rows_and_columns_at_their_own_spacing() -> None:
    assert area_cm2(100, (0.5, 2.0)) == pytest.approx(1.0)


def test_stray_pieces_are_no_lung() -> None:
    probabilities = np.where(block(10, 40) | block(80, 84, 0, 4), 0.9, 0.1).astype(np.float32)
    assert np.array_equal(organ(probabilities), block(10, 40))


def masks(inside: float, right: Mask, left: Mask) -> Masks:
    return Masks(np.where(np.stack((right, left)), inside, 0.0).astype(np.float32)[None])


def test_boxes_keep_only_to_lungs_that_were_found_with_confidence() -> None:
    right, left = chest()
    kept = lungs_to_keep_to(masks(0.95, right, left), LABELS)
    assert kept is not None
    assert np.array_equal(kept, right | left)
    assert lungs_to_keep_to(masks(0.85, right, left), LABELS) is None
    assert lungs_to_keep_to(masks(0.95, right, block(80, 84, 10, 14)), LABELS) is None


@pytest.mark.parametrize("source", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("target", ["stretch", "pad", "crop"])
def test_a_mask_moves_to_another_square_as_the_image_does(source: str, target: str) -> None:
    pixels = np.zeros((240, 320), np.uint8)
    pixels[80:160, 120:200] = 255
    one = Input.model_validate({"side": 256, "fit": source})
    other = Input.model_validate({"side": 224, "fit": target})
    mask, expected = fit(pixels, one) > 127, fit(pixels, other) > 127
    there = moved(mask, placement(pixels.shape, one), placement(pixels.shape, other))
    assert there.shape == expected.shape
    overlap = (there & expected).sum() / (there | expected).sum()
    assert overlap > 0.93


def test_where_the_outliner_saw_nothing_there_is_no_lung() -> None:
    cropped, whole = Input(side=64, fit="crop"), Input(side=64, fit="stretch")
    there = moved(
        np.ones((64, 64), np.bool_), placement((50, 100), cropped), placement((50, 100), whole)
    )
    assert not there[:, :15].any()
    assert there[:, 17:47].all()
