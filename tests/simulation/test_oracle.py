"""The bound is a bound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.batching.line import Waiting
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.device import Hardware, stepped
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.oracle import most_in_time, upper_bound
from cxrserve.simulation.world import World

machines = st.builds(
    Hardware,
    name=st.just("any"),
    table=st.one_of(
        st.builds(LatencyTable.flat, st.sampled_from([0.5, 1.0]), st.just((1, 2, 4))),
        st.builds(LatencyTable.linear, st.sampled_from([0.0, 0.5]), st.just(0.5)),
        st.just(stepped({1: 1.0, 2: 1.2, 6: 2.0})),
    ),
    slots=st.integers(1, 2),
    independent=st.booleans(),
)
windows = st.lists(st.tuples(st.floats(0, 4), st.floats(0.3, 4)), min_size=1, max_size=6)


def requests_of(drawn: list[tuple[float, float]]) -> list[Waiting]:
    return [
        Waiting(number=n, arrived=at, deadline=at + time)
        for n, (at, time) in enumerate(sorted(drawn))
    ]


@settings(max_examples=80, deadline=None)
@given(windows, machines)
def test_nobody_who_tries_all_schedules_exceeds_the_bound(
    drawn: list[tuple[float, float]], machine: Hardware
) -> None:
    requests = requests_of(drawn)
    exact = most_in_time(requests, machine)
    assert upper_bound(requests, machine) >= exact
    story = World(lambda: Ours(machine.table), machine, seed=0).run(requests)
    assert sum(one.in_time for one in story.endings) <= exact


def test_the_bound_counts_whole_batches() -> None:
    machine = Hardware(name="flat", table=LatencyTable.flat(1.0, (1, 4)), slots=1)
    burst = [Waiting(number=n, arrived=0.0, deadline=2.5) for n in range(12)]
    # Two batches of four fit; the half that is left of the time holds none.
    assert upper_bound(burst, machine) == most_in_time(burst[:8], machine) == 8


def test_a_request_with_less_time_than_a_batch_takes_is_not_counted() -> None:
    machine = Hardware(name="flat", table=LatencyTable.flat(1.0, (1, 4)), slots=1)
    assert upper_bound([Waiting(number=0, arrived=0.0, deadline=0.9)], machine) == 0


@pytest.mark.parametrize(("independent", "most"), [(True, 4), (False, 2)])
def test_independent_slots_count_twice(independent: bool, most: int) -> None:
    machine = Hardware(
        name="linear", table=LatencyTable.linear(0, 1.0), slots=2, independent=independent
    )
    burst = [Waiting(number=n, arrived=0.0, deadline=2.0) for n in range(6)]
    assert upper_bound(burst, machine) == most
