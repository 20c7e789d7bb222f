"""How many replicas a metric asks for: the arithmetic of Kubernetes' HorizontalPodAutoscaler.

As `pkg/controller/podautoscaler/replica_calculator.go` of Kubernetes 1.33 does it, in whole
thousandths as it does: described in its documentation under "Algorithm details".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """No change while metric ÷ target is that near to 1: below it, and above.

    0.1 is `--horizontal-pod-autoscaler-tolerance`'s default.
    """

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        """Whether this ratio is near enough."""
        return 1 - self.down <= ratio <= 1 + self.up


TOLERANCE = Tolerance()

_CPU_INITIALISATION_S = 300.0
_READINESS_DELAY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that is not being deleted, as the autoscaler sees it.

    Attributes:
        started_s: when it was created.
        is_pending: not on a node yet, or its image not there.
        is_ready: its readiness probe is true.
        changed_s: since when that is so.
    """

    name: int
    started_s: float
    is_pending: bool = False
    is_ready: bool = True
    changed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU of a pod as a share of its request, averaged over `window_s` before `at_s`."""

    share: float
    at_s: float
    window_s: float


def of_pods(
    pods: Sequence[Pod],
    values: Mapping[int, float],
    *,
    target: float,
    current: int,
    tolerance: Tolerance = TOLERANCE,
) -> int | None:
    """Replicas by a metric of the kind Pods; None where no pod shows it.

    Pods that are pending, and those without a value, count as idle where more are wanted, and the
    latter as on target where fewer are: so that no step is taken twice.

    Args:
        values: by pod.
        current: replicas that are wanted at present.
    """
    pending = {pod.name for pod in pods if pod.is_pending}
    missing = {pod.name for pod in pods if pod.name not in values} - pending
    thousandths = {
        pod.name: _thousandths(values[pod.name])
        for pod in pods
        if pod.name in values and pod.name not in pending
    }
    return _desired(
        thousandths,
        pending,
        missing,
        per_pod=_thousandths(target),
        when_missing=_thousandths(target),
        current=current,
        tolerance=tolerance,
    )


def of_cpu(
    pods: Sequence[Pod],
    usages: Mapping[int, Usage],
    *,
    target: float,
    current: int,
    now: float,
    tolerance: Tolerance = TOLERANCE,
) -> int | None:
    """Replicas by the kubelet's CPU; None where there is none.

    Beside what holds for any metric, what a pod uses while it starts is left out: until it is
    ready, and for a window after. Pods that show nothing count as using all of their request
    where fewer are wanted.
    """
    unready = {pod.name for pod in pods if _initialises(pod, usages.get(pod.name), now)}
    missing = {pod.name for pod in pods if pod.name not in usages} - unready
    thousandths = {
        pod.name: _thousandths(usages[pod.name].share)
        for pod in pods
        if pod.name in usages and pod.name not in unready
    }
    return _desired(
        thousandths,
        unready,
        missing,
        per_pod=_thousandths(target),
        when_missing=1000,
        grain=10,
        current=current,
        tolerance=tolerance,
    )


def of_external(
    total: float, *, target: float, current: int, tolerance: Tolerance = TOLERANCE
) -> int:
    """Replicas by one value for all pods, with an AverageValue as its target, as of KEDA."""
    thousandths, per_pod = _thousandths(total), _thousandths(target)
    if tolerance.covers(thousandths / (per_pod * current)):
        return current
    return math.ceil(thousandths / per_pod)


def _desired(
    values: dict[int, int],
    unready: set[int],
    missing: set[int],
    *,
    per_pod: int,
    when_missing: int,
    current: int,
    tolerance: Tolerance,
    grain: int = 1,
) -> int | None:
    if not values:
        return None
    ratio = _ratio(values, per_pod, grain)
    rises = ratio > 1
    if not missing and not (unready and rises):
        return current if tolerance.covers(ratio) else math.ceil(ratio * len(values))
    values = values | dict.fromkeys(missing, when_missing if ratio < 1 else 0)
    if rises:
        values |= dict.fromkeys(unready, 0)
    again = _ratio(values, per_pod, grain)
    if tolerance.covers(again) or (ratio < 1 < again) or (again < 1 < ratio):
        return current
    desired = math.ceil(again * len(values))
    turns = desired > current if again < 1 else desired < current
    return current if turns else desired


def _ratio(values: Mapping[int, int], per_pod: int, grain: int) -> float:
    """The mean over the target; the mean in whole thousandths, or percent (`grain` of 10)."""
    return sum(values.values()) // (len(values) * grain) * grain / per_pod


def _initialises(pod: Pod, usage: Usage | None, now: float) -> bool:
    if pod.is_pending:
        return True
    if usage is None:
        return False
    if now < pod.started_s + _CPU_INITIALISATION_S:
        return not pod.is_ready or usage.at_s < pod.changed_s + usage.window_s
    return not pod.is_ready and pod.changed_s < pod.started_s + _READINESS_DELAY_S


def _thousandths(value: float) -> int:
    # A quantity is rounded up when it is read in thousandths.
    return math.ceil(round(value * 1000, 6))
