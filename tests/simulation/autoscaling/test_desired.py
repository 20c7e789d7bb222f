"""The arithmetic of the HorizontalPodAutoscaler, by Kubernetes' own examples and by its laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.simulation.autoscaling.desired import (
    Pod,
    Tolerance,
    Usage,
    of_cpu,
    of_external,
    of_pods,
)


def pods(count: int, *, pending: int = 0) -> list[Pod]:
    """Of which the last are pending."""
    return [
        Pod(name=n, started_s=0.0, is_pending=n >= count - pending, is_ready=n < count - pending)
        for n in range(count)
    ]


def same(value: float, count: int) -> dict[int, float]:
    return dict.fromkeys(range(count), value)


# "Algorithm details": 200m where 100m is desired doubles the replicas, 50m halves them.
@pytest.mark.parametrize(
    ("value", "current", "wanted"),
    [(0.2, 3, 6), (0.05, 4, 2), (0.1, 5, 5), (0.109, 10, 10), (0.112, 10, 12), (0.091, 10, 10)],
)
def test_replicas_follow_the_ratio_of_metric_and_target(
    value: float, current: int, wanted: int
) -> None:
    found = of_pods(pods(current), same(value, current), target=0.1, current=current)
    assert found == wanted


def test_pods_that_are_pending_count_as_idle_where_more_are_wanted() -> None:
    # Four of eight start: 1.2 on four is 0.6 on all.
    assert of_pods(pods(8, pending=4), same(1.2, 4), target=0.6, current=8) == 8
    assert of_pods(pods(8, pending=4), same(2.4, 4), target=0.6, current=8) == 16


def test_pods_that_show_nothing_count_as_idle_or_on_target_whichever_changes_less() -> None:
    assert of_pods(pods(8), same(2.4, 4), target=0.6, current=8) == 16
    # 0.3 on four, 0.6 on the silent: 0.45 of 0.6 on eight.
    assert of_pods(pods(8), same(0.3, 4), target=0.6, current=8) == 6


def test_without_a_value_there_is_no_wish() -> None:
    assert of_pods(pods(3), {}, target=0.6, current=3) is None


def test_each_direction_has_its_own_tolerance() -> None:
    careful = Tolerance(down=0.5, up=0.0)
    assert of_pods(pods(4), same(0.4, 4), target=0.6, current=4, tolerance=careful) == 4
    assert of_pods(pods(4), same(0.62, 4), target=0.6, current=4, tolerance=careful) == 5


def test_what_a_pod_uses_while_it_starts_is_no_load() -> None:
    old = [Pod(name=n, started_s=-900.0, changed_s=-900.0) for n in range(2)]
    new = Pod(name=2, started_s=0.0, changed_s=15.0)
    usages = {n: Usage(0.6, 30.0, 15.0) for n in range(2)} | {2: Usage(1.0, 29.0, 15.0)}
    # A window has not passed since it was ready: as idle, where more would be wanted.
    assert of_cpu([*old, new], usages, target=0.5, current=3, now=31.0) == 3
    usages[2] = Usage(1.0, 31.0, 15.0)
    assert of_cpu([*old, new], usages, target=0.5, current=3, now=31.0) == 5
    # Before it is ready it is never counted.
    starting = Pod(name=2, started_s=0.0, is_ready=False, changed_s=0.0)
    assert of_cpu([*old, starting], usages, target=0.5, current=3, now=31.0) == 3


def test_cpu_beyond_the_limit_cannot_be_asked_for() -> None:
    busy = [Pod(name=n, started_s=-900.0, changed_s=-900.0) for n in range(3)]
    usages = {n: Usage(1.0, 0.0, 15.0) for n in range(3)}
    assert of_cpu(busy, usages, target=0.6, current=3, now=0.0) == 5


def test_one_value_for_all_pods_is_divided_by_the_target() -> None:
    assert of_external(9.0, target=0.6, current=3) == 15
    assert of_external(1.9, target=0.6, current=3) == 3  # within a tenth


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=12),
    st.integers(0, 6),
    st.integers(0, 6),
    st.floats(0.05, 2),
)
def test_the_load_there_is_decides_and_silence_never_exaggerates(
    values: list[float], silent: int, pending: int, target: float
) -> None:
    count = len(values) + silent + pending
    everyone = [Pod(name=n, started_s=0.0, is_pending=n >= count - pending) for n in range(count)]
    found = of_pods(everyone, dict(enumerate(values)), target=target, current=count)
    assert found is not None
    total = sum(values)
    if found > count:
        assert found <= math.ceil((total + 1e-3 * len(values)) / (math.floor(target * 1e3) / 1e3))
    elif found < count:
        # With those that are silent on target, and those that are pending left out.
        assert found >= math.floor((total - 1e-3 * count) / target) - 1
