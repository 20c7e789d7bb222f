"""Local evidence, and how it is read between the cells of a map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cxrserve.engines.engine import Outputs
from cxrserve.findings.evidence import Map, evidence_of, upsampled
from cxrserve.findings.mirror import mean_of, mirrored

grids = arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.floats(-50, 50, width=32),
)


def outputs(cam: Map, bias: list[float]) -> Outputs:
    added = np.array(bias, np.float32)
    return Outputs(cam[None].mean(axis=(2, 3)) + added, cam[None], added)


@given(grid=grids, factor=st.integers(2, 12))
def test_upsampling_is_bilinear_as_pillows(grid: Map, factor: int) -> None:
    side = factor * 9
    theirs = Image.fromarray(grid).resize((side, side), Image.Resampling.BILINEAR)
    assert upsampled(grid, side) == pytest.approx(np.asarray(theirs), abs=1e-3)


def test_a_sigmoid_labels_evidence_is_its_map_and_its_bias() -> None:
    cam = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert evidence_of(outputs(cam, [1.0, -2.0]), 1, "sigmoid") == pytest.approx(cam[1] - 2)


@given(
    cam=arrays(np.float32, (2, 3, 3), elements=st.floats(-20, 20, width=32)),
    bias=st.lists(st.floats(-5, 5), min_size=2, max_size=2),
)
def test_of_two_softmax_labels_one_s_evidence_has_the_films_log_odds_as_its_mean(
    cam: Map, bias: list[float]
) -> None:
    given_, evidence = outputs(cam, bias), evidence_of(outputs(cam, bias), 1, "softmax")
    log_odds = given_.logits[0, 1] - given_.logits[0, 0]
    assert evidence.mean() == pytest.approx(log_odds, abs=1e-3)


def test_among_three_softmax_labels_evidence_is_the_local_log_odds() -> None:
    cam = np.array([2.0, 1.0, 0.0], np.float32).reshape(3, 1, 1)
    chances = np.exp([2.0, 1.0, 0.0])
    expected = np.log(chances[1] / (chances[0] + chances[2]))
    assert evidence_of(outputs(cam, [0, 0, 0]), 1, "softmax")[0, 0] == pytest.approx(expected)


@given(cam=arrays(np.float32, (2, 4, 5), elements=st.floats(-20, 20, width=32)))
def test_a_film_and_its_mirror_image_read_the_same_add_up_to_the_same(cam: Map) -> None:
    plain = outputs(cam, [0.5, -0.5])
    mirror = outputs(np.ascontiguousarray(cam[..., ::-1]), [0.5, -0.5])
    mean = mean_of(plain, mirror)
    assert mean.cam == pytest.approx(plain.cam, abs=1e-5)
    assert mean.logits == pytest.approx(plain.logits, abs=1e-4)


def test_mirroring_exchanges_right_and_left_only() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert mirrored(pixels).tolist() == [[[2, 1, 0], [5, 4, 3]]]
