"""The dynamic batcher's settings follow from the table and the time to answer."""

from __future__ import annotations

import pytest

from cxrserve.batching.line import Priority
from cxrserve.engines.latency import GPU_SIZES, SIZES, LatencyTable
from cxrserve.triton_export.errors import NotExportable
from cxrserve.triton_export.schedule import schedule, unmeasured
from cxrserve.triton_export.wanted import slo_of

_LINEAR = LatencyTable.linear(0.0, 0.010)
_AFFINE = LatencyTable.linear(0.004, 0.0005, (*SIZES, 24, 32))


def test_nothing_waits_where_batching_gains_nothing() -> None:
    plan = schedule(_LINEAR, slo_of("1000"), instances=2, independent=True)
    assert plan.preferred == ()
    assert plan.delay_us == 0


def test_a_request_waits_no_longer_than_sharing_a_batch_can_save() -> None:
    plan = schedule(_AFFINE, slo_of("1000"), instances=2, independent=False)
    assert plan.preferred[-1] == plan.largest == 32
    assert plan.delay_us == pytest.approx(4000, abs=1)


@pytest.mark.parametrize("slo_ms", [10.0, 15.0, 25.0, 45.0, 200.0])
def test_who_meets_a_full_batch_is_still_in_time(slo_ms: float) -> None:
    plan = schedule(_AFFINE, slo_of(str(slo_ms)), instances=2, independent=False)
    assert plan.delay_us / 1e3 + 2e3 * _AFFINE.seconds(plan.largest) <= slo_ms
    assert set(plan.preferred) <= set(range(2, plan.largest + 1))


def test_the_most_urgent_class_sets_the_largest_batch() -> None:
    relaxed = schedule(_AFFINE, slo_of("1000"), instances=2, independent=False)
    tight = schedule(_AFFINE, slo_of("15,1000,1000"), instances=2, independent=False)
    assert tight.largest < relaxed.largest


def test_a_time_that_no_request_can_keep_is_refused_with_the_figure() -> None:
    with pytest.raises(NotExportable, match=r"takes 10\.0 ms.* within 19 ms"):
        schedule(_LINEAR, slo_of("19"), instances=2, independent=True)


def test_no_more_may_wait_than_can_be_run_in_their_time() -> None:
    plan = schedule(_LINEAR, slo_of("100,200,1000"), instances=2, independent=True)
    assert plan.queue == {Priority.STAT: 20, Priority.URGENT: 40, Priority.ROUTINE: 200}
    shared = schedule(_LINEAR, slo_of("100,200,1000"), instances=2, independent=False)
    assert shared.queue[Priority.ROUTINE] == 100


def test_what_is_unmeasured_is_not_guessed() -> None:
    plan = unmeasured(slo_of("1000"), 256)
    assert (plan.largest, plan.preferred, plan.delay_us) == (GPU_SIZES[-1], (), 0)
    assert plan.warmed == (1, 64)


@pytest.mark.parametrize("text", ["", "fast", "1,2", "0", "-5", "nan", "inf", "1,2,0"])
def test_a_time_to_answer_is_one_number_or_three(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        slo_of(text)
