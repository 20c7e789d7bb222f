"""What the simulator says of our rule and of the others; all of it on a virtual clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import ROOM, latest_finish
from cxrserve.engines.latency import SIZES, LatencyTable
from cxrserve.simulation.arrivals import Crowd, bursty, poisson, quiet_then_burst, recorded
from cxrserve.simulation.autoscaling.autoscaler import Autoscaler, Start
from cxrserve.simulation.autoscaling.manifests import Autoscaling
from cxrserve.simulation.autoscaling.signals import predicted
from cxrserve.simulation.bentoml_rule import BentoMl
from cxrserve.simulation.device import TABLES, Hardware, hardware, stepped
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.figures import figures
from cxrserve.simulation.grid import OURS, Cell, compare, default_slo_s, dispatchers
from cxrserve.simulation.oracle import upper_bound
from cxrserve.simulation.replicas import least_outstanding
from cxrserve.simulation.world import Fate, Story, World

# The synthetic model with which BentoML's own dispatcher was run: 4 ms + 0.5 ms an image.
MEASURED = Hardware(
    name="measured", table=LatencyTable.linear(0.004, 0.0005, (*SIZES, 24, 32)), slots=1
)


def offered(machine: Hardware, *, load: float, cv: float = 1.0, spans: float = 10) -> list[Waiting]:
    rng = np.random.default_rng(1)
    slo_s = default_slo_s(machine)
    rate = load * machine.rate()
    times = bursty(rate, max(50, round(rate * slo_s * spans)), cv, rng)
    return Crowd.with_one_slo(slo_s).arriving(times, rng)


def ours(requests: list[Waiting], machine: Hardware) -> Story:
    return World(lambda: Ours(machine.table), machine, seed=1).run(requests)


def in_time(story: Story) -> int:
    return sum(one.in_time for one in story.endings)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(TABLES)),
    st.lists(
        st.tuples(st.floats(0, 2), st.floats(0.001, 1), st.sampled_from(Priority)), min_size=1,
        max_size=60,
    ),
    st.floats(0, 0.5),
)  # fmt: skip
def test_every_request_ends_exactly_once_under_every_rule(
    name: str, drawn: list[tuple[float, float, Priority]], noise: float
) -> None:
    machine = hardware(name, noise=noise)
    requests = [
        Waiting(number=n, arrived=at, deadline=at + time, priority=priority, client=str(n % 3))
        for n, (at, time, priority) in enumerate(sorted(drawn))
    ]
    for make in dispatchers(machine, 0.5).values():
        # The world itself raises where one is forgotten, ends twice, or a batch is too large.
        story = World(make, machine, seed=0).run(requests)
        assert [one.request for one in story.endings] == requests
        ran = [one for one in story.endings if one.fate is Fate.ANSWERED]
        assert sum(story.batches) == len(ran)


def test_the_same_seed_gives_the_same_story() -> None:
    machine = hardware("gpu-affine", noise=0.1)
    requests = offered(machine, load=1.0, spans=2)
    assert ours(requests, machine) == ours(requests, machine)


def test_quiet_then_burst_is_served_in_full_where_bentoml_drops_most() -> None:
    rng = np.random.default_rng(1)
    times = quiet_then_burst(quiet=80, gap_s=0.02, burst=150)
    crowd = Crowd(slo_s=dict.fromkeys(Priority, 0.1), shares={Priority.ROUTINE: 1.0}, clients=1)
    requests = crowd.arriving(times, rng)
    assert in_time(ours(requests, MEASURED)) == 80 + 150

    bento = World(lambda: BentoMl(largest=32, limit_s=0.1, workers=1), MEASURED, seed=1)
    burst = bento.run(requests).endings[80:]
    served = sum(one.in_time for one in burst)
    assert served < 60  # their own dispatcher, run: 36


def test_who_comes_under_lasting_overload_leaves_time_for_more_urgent_newcomers() -> None:
    line = Line()
    for number in range(64):
        line.add(Waiting(number=number, arrived=0.0, deadline=1.0))

    def latest(now: float, priority: Priority) -> float:
        newcomer = Waiting(number=99, arrived=now, deadline=now + 1.0, priority=priority)
        return latest_finish(newcomer, line=line, ahead=64, table=MEASURED.table, now=now) - now

    assert latest(0.0, Priority.ROUTINE) == pytest.approx(1.0)
    assert latest(5.0, Priority.ROUTINE) == pytest.approx(ROOM[Priority.ROUTINE], abs=0.01)
    assert latest(5.0, Priority.STAT) == pytest.approx(1.0)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_overload_is_served_near_the_bound_stat_always_and_few_wait_in_vain(name: str) -> None:
    machine = hardware(name, noise=0.05)
    # A thousand requests: of fewer, one stat image more or less would decide.
    requests = offered(machine, load=2.0, spans=60 if name == "cpu-linear" else 6)
    story = ours(requests, machine)
    shown = figures("ours", story, upper_bound(requests, machine))
    assert shown.of_bound > 0.9
    assert shown.in_time["stat"] > 0.99
    assert shown.late < 0.02
    assert shown.shed < 0.03
    assert all(one.retry_after_s > 0 for one in story.endings if one.fate is Fate.REFUSED)


def test_under_overload_stat_is_never_worse_off_than_under_another_rule() -> None:
    machine = hardware("gpu-stepped", noise=0.05)
    requests = offered(machine, load=1.5, spans=5)
    slo_s = default_slo_s(machine)
    cell = Cell("gpu-stepped", 1.5, 1.0, *compare(requests, machine, slo_s, seed=1))
    by_name = {row.dispatcher: row for row in cell.rows}
    ours = by_name[OURS]
    for row in cell.rows:
        assert row.in_time["stat"] <= ours.in_time["stat"]
    # Triton with a queue timeout that fits this deadline exactly answers as many, but any of them.
    assert all(by_name[n].served < ours.served for n in ("bentoml", "window", "batch 1"))
    assert by_name["triton"].served < 1.04 * ours.served
    assert by_name["triton"].in_time["stat"] < 0.9


def test_a_routine_request_in_a_stat_flood_is_answered_in_time_or_refused_at_once() -> None:
    machine = hardware("gpu-affine")
    flood = poisson(2 * machine.rate(), 4000, np.random.default_rng(1))
    requests = [
        Waiting(
            number=n, arrived=float(at), deadline=float(at) + 0.1, client="a" if n % 50 else "b",
            priority=Priority.STAT if n % 50 else Priority.ROUTINE,
        )
        for n, at in enumerate(flood)
    ]  # fmt: skip
    routine = [
        one for one in ours(requests, machine).endings if one.request.priority is Priority.ROUTINE
    ]
    assert routine
    assert all(one.in_time or one.fate is Fate.REFUSED for one in routine)


def test_a_flooding_client_does_not_delay_another_by_more_than_a_batch_or_two() -> None:
    machine = MEASURED
    flood = [Waiting(number=n, arrived=0.0, deadline=5.0, client="flood") for n in range(1000)]
    single = Waiting(number=1000, arrived=0.05, deadline=5.05, client="single")
    ending = ours([*flood, single], machine).endings[-1]
    # What runs, and the next one.
    assert ending.at - single.arrived <= 2 * machine.table.seconds(32)


def test_more_replicas_serve_more_and_the_balancer_uses_all() -> None:
    machine = hardware("cpu-linear")
    requests = offered(machine, load=2.0, spans=20)
    one = World(lambda: Ours(machine.table), machine, seed=1).run(requests)
    three = World(
        lambda: Ours(machine.table), machine, seed=1, replicas=3, balancer=least_outstanding
    ).run(requests)
    assert in_time(three) == len(requests) > 1.5 * in_time(one)
    assert in_time(three) <= upper_bound(requests, machine, replicas=3)


def test_a_scaled_out_service_ends_its_overload() -> None:
    machine = hardware("cpu-linear")
    times = poisson(2.5 * machine.rate(), 15000, np.random.default_rng(1))
    requests = Crowd.with_one_slo(1.0).arriving(times, np.random.default_rng(2))
    scaler = Autoscaler(
        Autoscaling(least=1, most=10, metrics=(predicted(0.7),)),
        start=Start(ready_s=20),
        current=1,
        rng=np.random.default_rng(1),
    )
    world = World(
        lambda: Ours(machine.table), machine, seed=1,
        balancer=least_outstanding, autoscaler=scaler,
    )  # fmt: skip
    story = world.run(requests)
    assert story.replicas[-1][1] > 1
    early = [one.in_time for one in story.endings[:1000]]
    late = [one.in_time for one in story.endings[-1000:]]
    assert np.mean(early) < 0.7
    assert np.mean(late) > 0.99


def test_recorded_arrivals_start_at_zero(tmp_path: object) -> None:
    file = tmp_path / "arrivals"  # type: ignore[operator]
    file.write_text("12.5\n10\n11\n")
    assert recorded(file).tolist() == [0.0, 1.0, 2.5]
    file.write_text("")
    with pytest.raises(ValueError, match="no arrival times"):
        recorded(file)


def test_burstiness_is_the_coefficient_of_variation() -> None:
    gaps = np.diff(bursty(10.0, 50_000, 3.0, np.random.default_rng(1)))
    assert np.mean(gaps) == pytest.approx(0.1, rel=0.1)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(3.0, rel=0.1)


def test_a_batch_is_filled_up_to_the_next_bucket() -> None:
    table = stepped({1: 0.004, 4: 0.005, 8: 0.007})
    assert table.seconds(5) == pytest.approx(0.007)
