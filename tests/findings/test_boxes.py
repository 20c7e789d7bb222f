"""Boxes lie where the evidence is, in pixels of the image that was sent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrserve.findings.boxes import (
    LUNG_MARGIN,
    MOST_BOXES,
    Box,
    boxes_of,
    in_image,
    is_limited_to_lungs,
    widened,
)
from cxrserve.findings.evidence import Map
from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import placement

SIDE = 224


def peaks(*cells: tuple[int, int, float], low: float = -3.0) -> Map:
    cam = np.full((7, 7), low, np.float32)
    for row, column, value in cells:
        cam[row, column] = value
    return cam


def test_one_peak_gets_one_box_around_its_cell() -> None:
    (box,) = boxes_of(peaks((2, 5, 4.0)), bias=0.0, side=SIDE)
    assert box.left <= 5.5 * 32 <= box.left + box.width
    assert box.top <= 2.5 * 32 <= box.top + box.height
    assert max(box.width, box.height) <= 2 * 32


def test_no_box_claims_more_than_a_cell_of_the_map_can_tell() -> None:
    for row, column in ((0, 0), (3, 3), (6, 6)):
        (box,) = boxes_of(peaks((row, column, 0.5)), bias=0.0, side=SIDE)
        assert (box.width, box.height) == (32, 32)
        assert 0 <= box.left <= SIDE - 32


def test_boxes_come_with_the_strongest_first_and_are_few() -> None:
    cells = [(0, 0, 3.9), (0, 6, 4.0), (6, 0, 3.8), (6, 6, 3.7), (3, 3, 3.6)]
    boxes = boxes_of(peaks(*cells), bias=0.0, side=SIDE)
    assert len(boxes) == MOST_BOXES
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert boxes[0].left > SIDE / 2


def test_evidence_against_a_finding_gives_no_box() -> None:
    assert boxes_of(peaks((2, 5, 4.0)), bias=-4.5, side=SIDE) == ()
    assert boxes_of(peaks((2, 5, 4.0)), bias=-3.5, side=SIDE) != ()


def test_a_film_that_is_suspect_everywhere_is_one_box() -> None:
    (box,) = boxes_of(np.full((7, 7), 2.0, np.float32), bias=0.0, side=SIDE)
    assert (box.left, box.top, box.width, box.height) == (0, 0, SIDE, SIDE)
    assert box.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_lower_threshold_widens() -> None:
    cam = peaks((3, 3, 4.0), (3, 4, 2.0))
    (narrow,), (wide,) = (boxes_of(cam, bias=0, side=SIDE, threshold=t) for t in (0.7, 0.3))
    assert wide.width > narrow.width


def test_boxes_keep_to_the_lungs_and_their_margin() -> None:
    lungs = np.zeros((SIDE, SIDE), np.bool_)
    lungs[:, : SIDE // 2] = True
    inside_and_outside = peaks((3, 1, 4.0), (3, 5, 4.0))
    assert len(boxes_of(inside_and_outside, bias=0.0, side=SIDE)) == 2
    (box,) = boxes_of(inside_and_outside, bias=0.0, side=SIDE, lungs=lungs)
    assert box.left + box.width <= SIDE / 2
    across = np.full((7, 7), 3.0, np.float32)
    (box,) = boxes_of(across, bias=0.0, side=SIDE, lungs=lungs)
    assert box.width == SIDE / 2 + round(LUNG_MARGIN * SIDE)


def test_a_weak_place_inside_does_not_replace_a_strong_one_outside_the_lungs() -> None:
    lungs = np.zeros((SIDE, SIDE), np.bool_)
    lungs[:, : SIDE // 2] = True
    assert boxes_of(peaks((3, 1, 1.0), (3, 5, 4.0)), bias=0.0, side=SIDE, lungs=lungs) == ()


@pytest.mark.parametrize("label", ["Cardiomegaly", "Pleural_Thickening", "Pleural Effusion"])
def test_what_lies_outside_the_lungs_is_not_kept_to_them(label: str) -> None:
    assert not is_limited_to_lungs(label)
    assert is_limited_to_lungs("Consolidation")


@given(
    cam=arrays(
        np.float32,
        st.tuples(st.integers(1, 10), st.integers(1, 10)),
        elements=st.floats(-9, 9, width=32),
    ),
    bias=st.floats(-5, 5),
    threshold=st.floats(0, 1),
)
def test_every_box_lies_in_the_square_with_a_score_of_positive_evidence(
    cam: Map, bias: float, threshold: float
) -> None:
    boxes = boxes_of(cam, bias=bias, side=64, threshold=threshold)
    assert len(boxes) <= MOST_BOXES
    for box in boxes:
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= 64
        assert box.top + box.height <= 64
        assert 0.5 <= box.score <= 1


@given(
    shape=st.tuples(st.integers(40, 400), st.integers(40, 400)),
    fit=st.sampled_from(["stretch", "pad", "crop"]),
    corners=st.tuples(*[st.floats(0, 200)] * 2, *[st.floats(1, 24)] * 2),
)
def test_a_box_in_the_image_is_the_part_of_it_that_the_image_has(
    shape: tuple[int, int], fit: str, corners: tuple[float, float, float, float]
) -> None:
    where = placement(shape, Input.model_validate({"side": SIDE, "fit": fit}))
    left, top, width, height = corners
    shown = in_image(Box(left=left, top=top, width=width, height=height, score=1), where)
    if shown is None:
        assert fit == "pad"
        return
    assert shown.left >= 0
    assert shown.top >= 0
    assert shown.left + shown.width <= shape[1] + 1e-6
    assert shown.top + shown.height <= shape[0] + 1e-6
    back = where.to_square(shown.left, shown.top)
    assert back[0] >= left - 1e-6
    assert back[1] >= top - 1e-6
    if fit != "pad":
        assert back == pytest.approx((left, top), abs=1e-6)
        assert shown.width * where.scale_x == pytest.approx(width)


@given(mask=arrays(np.bool_, (9, 13)), margin=st.integers(0, 5))
def test_widening_reaches_as_far_as_its_margin(mask: np.ndarray, margin: int) -> None:
    expected = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        expected[
            max(0, row - margin) : row + margin + 1, max(0, column - margin) : column + margin + 1
        ] = True
    assert np.array_equal(widened(mask, margin), expected)
