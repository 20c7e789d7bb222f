"""How fast an autoscaler may go, by the examples of Kubernetes' documentation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.simulation.autoscaling.behaviour import Behaviour
from cxrserve.simulation.autoscaling.manifests import Behavior, ScalingPolicy, ScalingRules


def policy(kind: Literal["Pods", "Percent"], value: int, period_s: int = 60) -> ScalingPolicy:
    return ScalingPolicy(type=kind, value=value, period_s=period_s)


def rules(
    *policies: ScalingPolicy,
    window_s: int = 0,
    select: Literal["Max", "Min", "Disabled"] = "Max",
) -> ScalingRules:
    return ScalingRules(stabilization_s=window_s, select=select, policies=policies)


FREE = rules(policy("Percent", 100_000, 15))


def steps(
    behaviour: Behaviour, desired: int, current: int, *, every_s: float, count: int
) -> list[int]:
    """The number after each look."""
    found = []
    for look in range(1, count + 1):
        now = look * every_s
        allowed = behaviour.allowed(desired, current=current, least=1, most=10_000, now=now)
        if allowed != current:
            behaviour.changed(before=current, after=allowed, now=now)
        current = allowed
        found.append(current)
    return found


def test_the_documentations_ten_percent_or_four_pods_a_minute() -> None:
    down = rules(policy("Pods", 4), policy("Percent", 10))
    behaviour = Behaviour(Behavior(up=FREE, down=down), current=80)
    # 80 loses 8, 72 loses 7.2 rounded up to 8 …; below 40 four at a time.
    found = steps(behaviour, 10, 80, every_s=60, count=14)
    assert found[:5] == [72, 64, 57, 51, 45]
    assert found[5:9] == [40, 36, 32, 28]
    assert found[-1] == 10


def test_a_period_counts_what_was_done_in_it() -> None:
    up = rules(policy("Pods", 4, 60))
    behaviour = Behaviour(Behavior(up=up, down=FREE), current=3)
    assert steps(behaviour, 50, 3, every_s=15, count=6) == [7, 7, 7, 7, 11, 11]


def test_percent_up_is_rounded_up_so_that_one_can_become_two() -> None:
    behaviour = Behaviour(Behavior(up=rules(policy("Percent", 10)), down=FREE), current=1)
    assert steps(behaviour, 9, 1, every_s=60, count=3) == [2, 3, 4]


# KEP-853, "scale up as fast as possible": 1 → 10 → 100 → 1000.
def test_nine_hundred_percent_is_tenfold() -> None:
    behaviour = Behaviour(Behavior(up=rules(policy("Percent", 900)), down=FREE), current=1)
    assert steps(behaviour, 1000, 1, every_s=60, count=3) == [10, 100, 1000]


@pytest.mark.parametrize(("select", "after"), [("Max", 8), ("Min", 5), ("Disabled", 4)])
def test_of_several_policies_one_is_selected(
    select: Literal["Max", "Min", "Disabled"], after: int
) -> None:
    up = rules(policy("Pods", 1), policy("Percent", 100), select=select)
    behaviour = Behaviour(Behavior(up=up, down=FREE), current=4)
    assert behaviour.allowed(20, current=4, least=1, most=50, now=15.0) == after


def test_down_goes_only_to_the_most_that_was_wanted_in_the_window() -> None:
    behaviour = Behaviour(
        Behavior(up=FREE, down=rules(*FREE.policies or (), window_s=300)), current=9
    )
    wanted = [(15, 9), (30, 4), (150, 6), (310, 3), (320, 3), (460, 3)]
    found, current = [], 9
    for now, desired in wanted:
        current = behaviour.allowed(desired, current=current, least=1, most=20, now=now)
        found.append(current)
    assert found == [9, 9, 9, 9, 6, 3]


def test_up_goes_only_to_the_least_that_was_wanted_in_the_window() -> None:
    up = rules(*FREE.policies or (), window_s=60)
    behaviour = Behaviour(Behavior(up=up, down=FREE), current=2)
    found = [
        behaviour.allowed(desired, current=2, least=1, most=20, now=now)
        for now, desired in ((30, 3), (45, 9), (70, 7), (95, 9), (110, 9))
    ]
    # The two of the beginning are forgotten after a minute, the three of 30 s at 90.
    assert found == [2, 2, 3, 7, 7]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
    st.integers(0, 120),
    st.integers(0, 600),
    st.integers(1, 9),
    st.integers(1, 300),
)
def test_no_period_ever_sees_more_change_than_its_policy_allows(
    wishes: list[int], up_s: int, down_s: int, pods: int, percent: int
) -> None:
    up = rules(policy("Pods", pods, 30), window_s=up_s)
    down = rules(policy("Percent", min(percent, 99), 60), window_s=down_s)
    behaviour, current = Behaviour(Behavior(up=up, down=down), current=5), 5
    history = [(0.0, 5)]
    for look, desired in enumerate(wishes, start=1):
        now = 15.0 * look
        allowed = behaviour.allowed(desired, current=current, least=2, most=40, now=now)
        assert 2 <= allowed <= 40
        # Never further than is wanted, nor against it.
        assert min(current, desired, 40) <= allowed <= max(current, desired, 2)
        if allowed != current:
            behaviour.changed(before=current, after=allowed, now=now)
        current = allowed
        history.append((now, current))
    # Whenever it changes, against what there was when the period began.
    for (_, before), (at, after) in pairwise(history):
        if after > before:
            assert after - _count_at(at - 30, history) <= pods
        if after < before:
            began_with = _count_at(at - 60, history)
            assert began_with - after <= math.ceil(began_with * min(percent, 99) / 100)


def _count_at(when: float, history: list[tuple[float, int]]) -> int:
    return next(count for at, count in reversed(history) if at <= max(0.0, when))
