"""How fast an autoscaler may go where it wants: stabilisation, then policies.

As `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.33 does it.
"""

from __future__ import annotations

import math
from collections import deque

from cxrserve.simulation.autoscaling.manifests import Behavior, ScalingPolicy, ScalingRules

_LONGEST_PERIOD_S = 1800.0


class Behaviour:
    """What was wanted and what was done, remembered for as long as the rules look back.

    Args:
        rules: of both directions, the defaults filled in.
        current: replicas at the beginning.
    """

    def __init__(self, rules: Behavior, *, current: int) -> None:
        self._rules = rules
        # (when, what): of what the metrics wanted, and of pods that came and that went.
        self._wanted: deque[tuple[float, int]] = deque([(0.0, current)])
        self._came: deque[tuple[float, int]] = deque()
        self._went: deque[tuple[float, int]] = deque()

    def allowed(self, desired: int, *, current: int, least: int, most: int, now: float) -> int:
        """How many replicas there may be now, of those that the metrics desire."""
        stable = self._stabilised(desired, current, now)
        if stable > current:
            limit = max(current, self._up_to(current, now))
            return min(stable, limit, most)
        if stable < current:
            limit = min(current, self._down_to(current, now))
            return max(stable, limit, least)
        return current

    def changed(self, *, before: int, after: int, now: float) -> None:
        """Remember that the number was changed."""
        events = self._came if after > before else self._went
        events.append((now, abs(after - before)))
        while events[0][0] < now - _LONGEST_PERIOD_S:
            events.popleft()

    def _stabilised(self, desired: int, current: int, now: float) -> int:
        up_s, down_s = self._rules.up.stabilization_s or 0, self._rules.down.stabilization_s or 0
        while self._wanted and self._wanted[0][0] < now - max(up_s, down_s):
            self._wanted.popleft()
        lowest = min([desired, *(n for at, n in self._wanted if at > now - up_s)])
        highest = max([desired, *(n for at, n in self._wanted if at > now - down_s)])
        self._wanted.append((now, desired))
        return min(max(current, lowest), highest)

    def _up_to(self, current: int, now: float) -> int:
        rules = self._rules.up
        limits = [
            math.ceil(start + _step(policy, start))
            for policy, start in self._starts(rules, current, now)
        ]
        return _chosen(rules, limits, current, largest=rules.select == "Max")

    def _down_to(self, current: int, now: float) -> int:
        rules = self._rules.down
        limits = [
            int(start - _step(policy, start)) for policy, start in self._starts(rules, current, now)
        ]
        # Of several policies the one that changes most is "Max", whichever the direction.
        return _chosen(rules, limits, current, largest=rules.select == "Min")

    def _starts(
        self, rules: ScalingRules, current: int, now: float
    ) -> list[tuple[ScalingPolicy, int]]:
        """Each policy, and how many replicas there were when its period began."""
        found = []
        for policy in rules.policies or ():
            since = now - policy.period_s
            came = sum(count for at, count in self._came if at > since)
            went = sum(count for at, count in self._went if at > since)
            found.append((policy, current - came + went))
        return found


def _step(policy: ScalingPolicy, start: int) -> float:
    return policy.value if policy.type == "Pods" else start * policy.value / 100


def _chosen(rules: ScalingRules, limits: list[int], current: int, *, largest: bool) -> int:
    if rules.select == "Disabled" or not limits:
        return current
    return max(limits) if largest else min(limits)
