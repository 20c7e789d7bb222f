"""Several replicas: which of them gets a request, and how many there are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

Balancer = Callable[[Sequence[int], int, np.random.Generator], int]
"""From what is outstanding at each ready replica, how many requests came before, and chance:
the place of the one that gets the request."""


def round_robin(outstanding: Sequence[int], turn: int, _rng: np.random.Generator) -> int:
    """One after the other."""
    return turn % len(outstanding)


def least_outstanding(outstanding: Sequence[int], turn: int, _rng: np.random.Generator) -> int:
    """Where least waits or runs; of equals, in turn."""
    count = len(outstanding)
    return min(range(count), key=lambda place: (outstanding[place], (place - turn) % count))


def at_random(outstanding: Sequence[int], _turn: int, rng: np.random.Generator) -> int:
    """Any, as a Service of Kubernetes does for each connection."""
    return int(rng.integers(len(outstanding)))


BALANCERS: dict[str, Balancer] = {
    "round-robin": round_robin,
    "least-outstanding": least_outstanding,
    "random": at_random,
}


class Autoscaler:
    """Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), for one metric.

    desired = ceil(current · metric / target), every 15 s; no change while the ratio is within
    0.1 of 1; down only to the most that was desired in the last 300 s. Pods that are not ready
    count as idle where that keeps it from scaling up further.

    Args:
        metric: mean of requests outstanding, or of the share of time the device was busy.
        target: what the metric is to be, in requests or as a share.
        least: replicas at any time.
        most: replicas at any time.
        start_s: seconds until a new replica is ready.
    """

    every_s = 15.0
    _TOLERANCE = 0.1
    _STABLE_S = 300.0

    def __init__(
        self,
        *,
        metric: Literal["outstanding", "utilisation"],
        target: float,
        least: int,
        most: int,
        start_s: float,
    ) -> None:
        self.start_s = start_s
        self._metric, self._target = metric, target
        self._least, self._most = least, most
        self._wanted: deque[tuple[float, int]] = deque()
        self._busy_before: float = 0.0

    def wanted(
        self, *, outstanding: Sequence[int], busy_s: Sequence[float], count: int, now: float
    ) -> int:
        """How many replicas there should be; `count` are there, the lists are of those ready."""
        if self._metric == "outstanding":
            total = float(sum(outstanding))
        else:
            total = max(0.0, sum(busy_s) - self._busy_before) / self.every_s
            self._busy_before = sum(busy_s)
        ratio = total / len(outstanding) / self._target
        if ratio > 1 and len(outstanding) < count:
            ratio = max(1.0, total / count / self._target)
        desired = count if abs(ratio - 1) <= self._TOLERANCE else math.ceil(count * ratio)
        desired = min(max(desired, self._least), self._most)
        self._wanted.append((now, desired))
        while self._wanted[0][0] < now - self._STABLE_S:
            self._wanted.popleft()
        if desired < count:
            return min(count, max(number for _, number in self._wanted))
        return desired
