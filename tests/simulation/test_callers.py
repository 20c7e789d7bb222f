"""Who was refused comes back, when told, as long as it is of use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.batching.line import Priority, Waiting
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.arrivals import Crowd, poisson
from cxrserve.simulation.callers import Callers
from cxrserve.simulation.device import Hardware
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.world import Fate, World

_CORE = Hardware(
    name="core", table=LatencyTable.linear(0.0, 0.040, (1, 2, 4)), slots=1, independent=True
)


@given(
    st.floats(0, 100), st.floats(0.1, 90), st.integers(1, 9), st.floats(0, 40), st.floats(0, 40),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_nobody_comes_back_before_told_or_when_it_is_of_no_use(
    arrived: float, time_s: float, attempt: int, since_s: float, told_s: float, keeps: bool,
    seed: int,
) -> None:  # fmt: skip
    first = Waiting(number=7, arrived=arrived, deadline=arrived + time_s)
    now = arrived + since_s
    again = Callers(keeps_deadline=keeps).returning(
        first, attempt=attempt, now=now, retry_after_s=told_s, rng=np.random.default_rng(seed)
    )
    if again is None:
        latest = time_s if keeps else 60.0
        # It would have been too late, with the most jitter there is.
        assert since_s + max(1, math.ceil(told_s)) + 1.0 >= min(latest, 60.0)
        return
    assert again.number == first.number
    assert again.arrived >= now + told_s
    assert again.arrived - arrived <= 60.0
    if keeps:
        assert again.arrived < again.deadline == first.deadline
    else:
        assert again.deadline - again.arrived == pytest.approx(time_s)


def test_who_could_never_be_in_time_stays_away() -> None:
    hopeless = Waiting(number=0, arrived=0.0, deadline=0.039)
    world = World(lambda: Ours(_CORE.table, promising=True), _CORE, seed=1, callers=Callers())
    (ending,) = world.run([hopeless]).endings
    assert (ending.fate, ending.attempts) == (Fate.REFUSED, 1)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_burst_that_is_refused_comes_back_and_is_answered(keeps: bool) -> None:
    # A line of 20, 0.04 s each: of 100 at once most are told to come back.
    rng = np.random.default_rng(1)
    requests = Crowd.with_one_slo(8.0).arriving(np.linspace(0, 0.1, 100), rng)
    alone = World(lambda: Ours(_CORE.table, promising=True, size=20), _CORE, seed=1)
    obeyed = World(
        lambda: Ours(_CORE.table, promising=True, size=20), _CORE, seed=1,
        callers=Callers(keeps_deadline=keeps),
    )  # fmt: skip
    before, after = alone.run(requests).endings, obeyed.run(requests).endings
    assert sum(one.in_time for one in before) < 50
    assert sum(one.in_time for one in after) > 90
    came_back = [one for one in after if one.attempts > 1]
    assert came_back
    # They are told of as they first came.
    assert [one.request for one in after] == requests


def test_each_who_comes_is_demanded_once_however_often_it_comes() -> None:
    rng = np.random.default_rng(1)
    requests = Crowd.with_one_slo(2.0).arriving(poisson(50, 500, rng), rng)
    made: list[Ours] = []

    def make() -> Ours:
        made.append(Ours(_CORE.table, host_s=0.0, promising=True))
        return made[-1]

    world = World(make, _CORE, seed=1, callers=Callers())
    endings = world.run(requests).endings
    assert any(one.attempts > 1 for one in endings)
    shown = made[0].shows(world._replicas[0].device.slots(), 0.0)
    assert shown.demanded_s == pytest.approx(500 * 0.040, rel=0.03)


def test_every_request_ends_once_with_many_replicas_that_refuse() -> None:
    rng = np.random.default_rng(2)
    requests = Crowd.with_one_slo(3.0).arriving(poisson(200, 2000, rng), rng)
    story = World(
        lambda: Ours(_CORE.table, promising=True, size=8), _CORE, seed=1, replicas=3,
        callers=Callers(),
    ).run(requests)  # fmt: skip
    assert [one.request for one in story.endings] == requests
    stat = [one.in_time for one in story.endings if one.request.priority is Priority.STAT]
    routine = [one.in_time for one in story.endings if one.request.priority is Priority.ROUTINE]
    assert np.mean(stat) > np.mean(routine)
