"""Decoding takes its turn on the processors, as it does in the service."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.batching.line import Priority, Waiting
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.arrivals import Crowd, poisson
from cxrserve.simulation.device import Hardware, hardware
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.grid import default_slo_s, dispatchers
from cxrserve.simulation.world import Ending, Fate, World

_TABLE = LatencyTable.linear(0.0, 0.040, (1, 2, 4))
_CORE = Hardware(name="core", table=_TABLE, slots=1, independent=True, host_s=0.010)


def _asked(
    number: int, at: float, *, within: float = 1.0, priority: Priority = Priority.ROUTINE
) -> Waiting:
    return Waiting(number=number, arrived=at, deadline=at + within, priority=priority)


def _endings(
    requests: list[Waiting], machine: Hardware = _CORE, *, promising: bool = False
) -> list[Ending]:
    world = World(
        lambda: Ours(machine.table, host_s=machine.host_s, promising=promising), machine, seed=1
    )
    return list(world.run(requests).endings)


def test_decoding_and_network_follow_each_other_on_a_core() -> None:
    (one,) = _endings([_asked(0, 0.0)])
    assert one.at == pytest.approx(0.050)


def test_of_equally_urgent_work_the_batch_goes_first() -> None:
    one, two = _endings([_asked(0, 0.0), _asked(1, 0.001)])
    # Not both decoded and then both run.
    assert one.at == pytest.approx(0.050)
    assert two.at == pytest.approx(0.100)


def test_more_urgent_decoding_goes_before_a_batch_that_waits() -> None:
    # While the second is decoded the third comes: decoded before the second's batch, run before it.
    requests = [_asked(0, 0.0), _asked(1, 0.001), _asked(2, 0.055, priority=Priority.STAT)]
    _, routine, stat = _endings(requests)
    assert stat.at == pytest.approx(0.110)
    assert routine.at == pytest.approx(0.150)


def test_who_has_no_time_for_decoding_is_refused() -> None:
    in_time, too_late = _endings([_asked(0, 0.0, within=0.051), _asked(1, 1.0, within=0.049)])
    assert in_time.in_time
    assert too_late.fate is Fate.REFUSED


def test_beside_a_gpu_decoding_takes_nothing_from_it() -> None:
    gpu = Hardware(name="gpu", table=_TABLE, slots=1, host_s=0.010, host_threads=1)
    one, two = _endings([_asked(0, 0.0), _asked(1, 0.0)], gpu)
    # The second is decoded while the first runs.
    assert [one.at, two.at] == pytest.approx([0.050, 0.090])
    assert gpu.rate() == pytest.approx(25)
    assert hardware("gpu-flat", host_s=0.010).rate() == pytest.approx(200)


def test_a_core_is_kept_busy_by_both() -> None:
    assert _CORE.rate() == pytest.approx(20)
    rng = np.random.default_rng(1)
    requests = Crowd.with_one_slo(1.0).arriving(poisson(40, 2000, rng), rng)
    served = [one for one in _endings(requests) if one.in_time]
    assert len(served) / requests[-1].arrived == pytest.approx(20, rel=0.05)


def test_room_is_left_for_those_who_were_told_to_come_back() -> None:
    rng = np.random.default_rng(1)
    requests = Crowd.with_one_slo(1.0).arriving(poisson(40, 1000, rng), rng)
    routine = [
        [
            one.at - one.request.arrived
            for one in _endings(requests, promising=promising)
            if one.in_time and one.request.priority is Priority.ROUTINE
        ]
        for promising in (False, True)
    ]
    assert max(routine[1]) <= max(routine[0])
    told = [one for one in _endings(requests, promising=True) if one.fate is Fate.REFUSED]
    assert told
    # Promises are spread over time, as fast as they are expected to be kept.
    back_at = [one.at + one.retry_after_s for one in told]
    assert len({round(at, 6) for at in back_at}) > len(back_at) / 2


@pytest.mark.parametrize("name", ["cpu-linear", "gpu-affine"])
def test_every_request_ends_once_under_every_rule_with_decoding(name: str) -> None:
    machine = hardware(name, noise=0.1, host_s=0.004)
    rng = np.random.default_rng(3)
    slo_s = default_slo_s(machine)
    times = poisson(1.5 * machine.rate(), 300, rng)
    requests = Crowd.with_one_slo(slo_s).arriving(times, rng)
    for make in dispatchers(machine, slo_s).values():
        story = World(make, machine, seed=1).run(requests)
        assert [one.request for one in story.endings] == requests
