"""What Prometheus knows of a pod, and computes of it: samples, as old as the last scrape."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cxrserve.simulation.autoscaling.queries import Query

_KEPT_S = 300.0
"""A sample that is older is no present value any more (Prometheus' lookback)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What a replica shows at `/metrics` (docs/metrics.md), by the names of `queries.SERIES`."""

    processors: float
    busy_s: float
    demanded_s: float
    expected_wait_s: float
    slo_s: float
    waiting: float


class Scrapes:
    """The samples of one pod."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Readings]] = deque()

    def add(self, readings: Readings, now: float) -> None:
        """A scrape has answered."""
        self._samples.append((now, readings))
        while self._samples[0][0] < now - _KEPT_S:
            self._samples.popleft()

    def value(self, query: Query, now: float) -> float | None:
        """What a query gives now; None where the samples do not suffice."""
        points = [
            (at, getattr(readings, query.series))
            for at, readings in self._samples
            if at > now - query.window_s
        ]
        found = rate(points, query.window_s, now) if query.function == "rate" else _most(points)
        if found is None or query.divisor is None:
            return found
        return found / float(getattr(self._samples[-1][1], query.divisor))


def rate(points: list[tuple[float, float]], window_s: float, now: float) -> float | None:
    """Increase a second over the window, as Prometheus extrapolates it (`extrapolatedRate`).

    To the edges of the window where samples come near them, else by half of their distance: a
    counter that is younger than the window shows less than its rate.

    Args:
        points: (time, value) within the window, ascending; of a counter that is never reset.
    """
    if len(points) < 2:
        return None
    (first_at, first), (last_at, last) = points[0], points[-1]
    increase, covered_s = last - first, last_at - first_at
    apart_s = covered_s / (len(points) - 1)
    before_s, after_s = first_at - (now - window_s), now - last_at
    if before_s >= 1.1 * apart_s:
        before_s = apart_s / 2
    if after_s >= 1.1 * apart_s:
        after_s = apart_s / 2
    if increase > 0:
        # A counter was never below zero.
        before_s = min(before_s, covered_s * first / increase)
    return increase * (covered_s + before_s + after_s) / covered_s / window_s


def _most(points: list[tuple[float, float]]) -> float | None:
    return max((value for _, value in points), default=None)
