"""Connected parts, against SciPy's."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage  # type: ignore[import-untyped]

from cxrserve.findings.parts import Mask, connected_parts, largest_part

masks = arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@given(mask=masks)
def test_parts_are_those_that_scipy_finds(mask: Mask) -> None:
    ours, (theirs, count) = connected_parts(mask), ndimage.label(mask)
    assert ours.max(initial=0) == count
    assert len(set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))) == len(
        np.unique(theirs)
    )


@given(mask=masks)
def test_the_largest_part_is_one_part_and_none_is_larger(mask: Mask) -> None:
    largest = largest_part(mask)
    assert ndimage.label(largest)[1] == int(mask.any())
    theirs, _ = ndimage.label(mask)
    assert largest.sum() == np.bincount(theirs.ravel())[1:].max(initial=0)
    assert not (largest & ~mask).any()


def test_the_worst_mask_of_a_network_is_no_denial_of_service() -> None:
    chequered = np.indices((512, 512)).sum(axis=0) % 2 == 0
    started = time.process_time()
    assert connected_parts(chequered).max() == 512 * 512 / 2
    assert time.process_time() - started < 5
