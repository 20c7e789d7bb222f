"""What a latency table promises, whatever was measured and whatever runs later."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.engines.latency import GPU_SIZES, LARGEST_MOVE, SIZES, LatencyTable

_seconds = st.floats(1e-4, 10.0)
_measured = st.fixed_dictionaries(dict.fromkeys(SIZES, _seconds))
_seen = st.lists(st.tuples(st.integers(1, 16), st.floats(0.0, 1e6)), max_size=40)


def _all_times(table: LatencyTable) -> list[float]:
    return [table.seconds(size) for size in range(1, table.largest + 1)]


@given(_measured, _seen)
def test_a_larger_batch_never_takes_less(
    measured: dict[int, float], seen: list[tuple[int, float]]
) -> None:
    table = LatencyTable(measured)
    for size, seconds in seen:
        table.observe(size, seconds)
    times = _all_times(table)
    # Interpolation between equal times may differ in the last digit.
    assert all(less <= more * (1 + 1e-12) for less, more in pairwise(times))
    assert min(times) > 0


@given(_measured, _seen, st.integers(1, 16), st.floats(0.0, 1e9))
def test_one_odd_batch_moves_no_time_by_more_than_the_stated_factor(
    measured: dict[int, float], seen: list[tuple[int, float]], size: int, odd: float
) -> None:
    table = LatencyTable(measured)
    for at, seconds in seen:
        table.observe(at, seconds)
    before = _all_times(table)
    table.observe(size, odd)
    for was, now in zip(before, _all_times(table), strict=True):
        assert now <= was * LARGEST_MOVE * (1 + 1e-9)
        assert now >= was / LARGEST_MOVE * (1 - 1e-9)


@given(_measured)
def test_what_was_measured_in_order_is_answered_as_measured(measured: dict[int, float]) -> None:
    ordered = dict(zip(SIZES, sorted(measured.values()), strict=True))
    table = LatencyTable(ordered)
    for size, seconds in ordered.items():
        assert table.seconds(size) == pytest.approx(seconds)


def test_between_measured_sizes_time_grows_linearly() -> None:
    table = LatencyTable({1: 0.010, 4: 0.040, 8: 0.060})
    assert table.seconds(2) == pytest.approx(0.020)
    assert table.seconds(6) == pytest.approx(0.050)
    assert table.sizes == (1, 4, 8)
    assert table.largest == 8


def test_a_size_that_was_measured_faster_than_a_smaller_one_shares_its_time() -> None:
    table = LatencyTable({1: 0.01, 2: 0.04, 3: 0.01, 4: 0.05})
    assert table.seconds(2) == table.seconds(3) == pytest.approx(0.02)
    assert table.seconds(4) == pytest.approx(0.05)


@given(_measured, st.floats(0.25, 4.0), st.integers(1, 16))
def test_the_size_that_runs_is_learnt_and_the_others_keep_their_shape(
    measured: dict[int, float], factor: float, runs: int
) -> None:
    table = LatencyTable(dict(zip(SIZES, sorted(measured.values()), strict=True)))
    before = {size: table.seconds(size) for size in SIZES}
    takes = table.seconds(runs) * factor
    for _ in range(100):
        table.observe(runs, takes)
    assert table.seconds(runs) == pytest.approx(takes, rel=0.25)
    # All sizes follow, four fifths of the way or more, and none further than what was seen.
    low, high = sorted((factor**0.79, factor))
    assert low <= table.drift <= high
    low, high = sorted((factor, 1.0))
    for size in (size for size in SIZES if abs(size - runs) > 5):
        assert low * 0.999 <= table.seconds(size) / before[size] <= high * 1.001


def test_a_machine_that_slows_down_slows_the_sizes_that_never_run() -> None:
    table = LatencyTable.linear(0.002, 0.010)
    for _ in range(100):
        table.observe(1, 0.024)
    assert table.seconds(1) == pytest.approx(0.024, rel=0.02)
    assert 1.6 < table.seconds(16) / 0.162 < 2.0
    for _ in range(100):
        table.observe(1, 0.012)
    assert table.seconds(16) == pytest.approx(0.162, rel=0.02)


def test_sizes_that_were_measured_badly_are_put_right_without_moving_the_rest() -> None:
    table = LatencyTable.linear(0.0, 0.010)
    for _ in range(2000):
        table.observe(1, 0.010)
        table.observe(8, 0.110)
        table.observe(4, 0.040)
    assert table.seconds(1) == pytest.approx(0.010, rel=0.03)
    assert table.seconds(4) == pytest.approx(0.040, rel=0.03)
    assert table.seconds(8) == pytest.approx(0.110, rel=0.03)


def test_two_sizes_that_disagree_with_their_order_do_not_wind_up() -> None:
    table = LatencyTable.flat(0.1, (1, 2))
    for _ in range(1000):
        table.observe(1, 0.2)
        table.observe(2, 0.1)
    for _ in range(400):
        table.observe(1, 0.05)
        table.observe(2, 0.1)
    assert table.seconds(1) == pytest.approx(0.05, rel=0.05)
    assert table.seconds(2) == pytest.approx(0.1, rel=0.05)


def test_the_best_rate_is_that_of_the_size_which_reads_most_films() -> None:
    assert LatencyTable.flat(0.1).best_rate() == pytest.approx(160)
    assert LatencyTable.linear(0.0, 0.01).best_rate() == pytest.approx(100)
    assert LatencyTable.linear(0.1, 0.01, GPU_SIZES).best_rate() == pytest.approx(64 / 0.74)


@given(_measured, _seen)
def test_a_table_survives_json(measured: dict[int, float], seen: list[tuple[int, float]]) -> None:
    table = LatencyTable(measured)
    for size, seconds in seen:
        table.observe(size, seconds)
    again = LatencyTable.from_dict(json.loads(json.dumps(table.as_dict())))
    assert again.sizes == table.sizes
    assert _all_times(again) == pytest.approx(_all_times(table), rel=1e-9)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"sizes": [1]},
        {"sizes": [1, 2], "seconds": [0.1]},
        {"sizes": [2], "seconds": [0.1]},
        {"sizes": [1], "seconds": [-0.1]},
        {"sizes": [1], "seconds": [float("nan")]},
        {"sizes": [1], "seconds": ["soon"]},
        {"sizes": [float("inf")], "seconds": [0.1]},
    ],
)
def test_what_is_no_table_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        LatencyTable.from_dict(data)


@pytest.mark.parametrize("size", [0, -1, 17])
def test_a_size_outside_the_table_is_refused(size: int) -> None:
    table = LatencyTable.flat(0.1)
    with pytest.raises(ValueError, match=r"within 1\.\.16"):
        table.seconds(size)
    with pytest.raises(ValueError, match=r"within 1\.\.16"):
        table.observe(size, 0.1)
