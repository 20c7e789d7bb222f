"""What runs next."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import Slots, decide, expected_finish, useful_size
from cxrserve.engines.latency import SIZES, LatencyTable

FLAT = LatencyTable.flat(0.010)
LINEAR = LatencyTable.linear(0.0, 0.030)
AFFINE = LatencyTable.linear(0.004, 0.0005, (*SIZES, 24, 32))


def line_of(*deadlines: float, priority: Priority = Priority.ROUTINE) -> Line:
    line = Line()
    for number, deadline in enumerate(deadlines):
        line.add(Waiting(number=number, arrived=0.0, deadline=deadline, priority=priority))
    return line


def test_where_batches_gain_nothing_each_image_runs_alone() -> None:
    decision = decide(line_of(*[9.0] * 8), LINEAR, Slots(free=2), 0.0)
    assert len(decision.run) == 1


def test_where_size_costs_nothing_all_that_fit_run_together() -> None:
    decision = decide(line_of(*[9.0] * 20), FLAT, Slots(free=1, independent=False), 0.0)
    assert len(decision.run) == FLAT.largest


def test_an_idle_device_never_waits() -> None:
    assert decide(line_of(9.0), FLAT, Slots(free=1, independent=False), 0.0).run == (0,)


def test_on_a_busy_shared_device_it_waits_while_that_costs_nothing() -> None:
    slots = Slots(free=1, busy_until=(0.010,), independent=False)
    decision = decide(line_of(9.0), FLAT, slots, 0.0)
    assert not decision.run
    assert decision.wait_until is not None
    assert 0.005 < decision.wait_until < 0.010
    assert decide(line_of(9.0), FLAT, slots, decision.wait_until).run == (0,)


def test_who_cannot_be_answered_in_time_is_named_and_not_run() -> None:
    decision = decide(line_of(0.005, 9.0), FLAT, Slots(free=1), 0.0)
    assert decision.late == (0,)
    assert decision.run == (1,)


def test_it_wakes_to_name_who_becomes_late() -> None:
    busy = Slots(free=0, busy_until=(0.001,), independent=False)
    decision = decide(line_of(0.030), FLAT, busy, 0.0)
    assert decision.wait_until == pytest.approx(0.020, abs=1e-3)


def test_a_stat_request_that_is_due_soon_runs_in_a_smaller_batch() -> None:
    line = line_of(*[9.0] * 40)
    line.add(Waiting(number=99, arrived=0.0, deadline=0.007, priority=Priority.STAT))
    decision = decide(line, AFFINE, Slots(free=1, independent=False), 0.0)
    assert 99 in decision.run
    assert AFFINE.seconds(len(decision.run)) <= 0.007


def test_a_stat_request_with_time_to_spare_does_not_cost_the_full_batch() -> None:
    line = line_of(*[9.0] * 40)
    line.add(Waiting(number=99, arrived=0.0, deadline=9.0, priority=Priority.STAT))
    decision = decide(line, AFFINE, Slots(free=1, independent=False), 0.0)
    assert 99 in decision.run
    assert len(decision.run) == AFFINE.largest


def test_a_free_stream_answers_at_once_though_another_is_busy() -> None:
    slots = Slots(free=1, busy_until=(5.0,))
    finish = expected_finish(ahead=0, images=1, table=LINEAR, slots=slots, now=0.0)
    assert finish == pytest.approx(0.030)


def test_copying_is_hidden_behind_the_batch_before() -> None:
    slots = Slots(free=1, busy_until=(0.010,), independent=False)
    full = FLAT.largest
    times = [
        expected_finish(ahead=n * full, images=1, table=FLAT, slots=slots, now=0.0)
        for n in range(3)
    ]
    assert times == pytest.approx([0.0175, 0.025, 0.0325])


tables = st.one_of(
    st.builds(LatencyTable.flat, st.floats(0.001, 0.1)),
    st.builds(LatencyTable.linear, st.floats(0.0, 0.05), st.floats(0.001, 0.05)),
)
crowds: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        deadline=st.floats(0.0, 2.0),
        priority=st.sampled_from(Priority),
        client=st.sampled_from("abc"),
        images=st.integers(1, 4),
    ),
    min_size=1,
    max_size=60,
)
some_slots = st.builds(
    Slots,
    free=st.integers(0, 3),
    busy_until=st.lists(st.floats(0, 1), min_size=1, max_size=2).map(tuple),
    independent=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(crowds, tables, some_slots, st.floats(0, 1))
def test_laws_of_a_decision(
    crowd: list[dict[str, Any]], table: LatencyTable, slots: Slots, now: float
) -> None:
    line = Line()
    known = {}
    for number, one in enumerate(crowd):
        known[number] = Waiting(number=number, arrived=0.0, **one)
        line.add(known[number])
    before = sorted(r.number for r in copy.deepcopy(line).in_order(now))
    decision = decide(line, table, slots, now)

    # Pure: the same again, and nobody has moved.
    assert decide(line, table, slots, now) == decision
    assert sorted(r.number for r in line.in_order(now)) == before
    # Nobody is run twice, or both run and late.
    assert len(set(decision.run)) == len(decision.run)
    assert not set(decision.run) & set(decision.late)
    images = sum(known[number].images for number in decision.run)
    assert images <= table.largest
    assert not decision.run or slots.free
    # Who is named late could not be answered in time even if he were next.
    start = slots.earliest_start(now)
    for number in decision.late:
        assert known[number].deadline < start + table.seconds(1) or not slots.independent
    # Either something runs, or there is a time to ask again, or nobody is left.
    assert decision.run or decision.wait_until is not None or len(decision.late) == len(known)
    # An idle device that anyone can use is used.
    idle = slots.free and (slots.independent or not slots.busy_until)
    if idle and len(decision.late) < len(known):
        assert decision.run


@settings(max_examples=60, deadline=None)
@given(tables)
def test_the_useful_size_costs_at_most_two_percent(table: LatencyTable) -> None:
    size = useful_size(table)
    assert size / table.seconds(size) >= 0.98 * table.best_rate() * (1 - 1e-9)
