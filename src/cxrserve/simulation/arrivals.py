"""Who comes when: the load that a simulation offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.line import Priority, Waiting

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who asks, and until when an answer is of use.

    Attributes:
        shares: share of each class; they add up to 1.
        slo_s: seconds from arrival to deadline, by class.
        clients: how many ask; each arrival is one of them by chance.
    """

    slo_s: Mapping[Priority, float]
    shares: Mapping[Priority, float] = field(
        default_factory=lambda: {
            Priority.STAT: 0.1,
            Priority.URGENT: 0.2,
            Priority.ROUTINE: 0.7,
        }
    )
    clients: int = 8

    @classmethod
    def with_one_slo(cls, slo_s: float, *, clients: int = 8) -> Crowd:
        """A tenth stat, a fifth urgent, the rest routine, all with the same time to answer."""
        return cls(slo_s=dict.fromkeys(Priority, slo_s), clients=clients)

    def arriving(self, times: Sequence[float] | Times, rng: np.random.Generator) -> list[Waiting]:
        """Give each arrival time (s) a class and a client."""
        classes = list(self.shares)
        share = np.array([self.shares[one] for one in classes], dtype=float)
        drawn = rng.choice(len(classes), size=len(times), p=share / share.sum())
        asking = rng.integers(self.clients, size=len(times))
        return [
            Waiting(
                number=number,
                arrived=float(time),
                deadline=float(time) + self.slo_s[classes[drawn[number]]],
                priority=classes[drawn[number]],
                client=f"client {asking[number]}",
            )
            for number, time in enumerate(times)
        ]


def poisson(rate: float, count: int, rng: np.random.Generator) -> Times:
    """`count` arrivals, `rate` a second, each independent of the rest."""
    return bursty(rate, count, 1.0, rng)


def bursty(rate: float, count: int, cv: float, rng: np.random.Generator) -> Times:
    """`count` arrivals with gamma distributed gaps.

    Args:
        cv: standard deviation of the gaps over their mean; 1 is Poisson, more is burstier.
    """
    shape = 1.0 / cv**2
    gaps: Times = rng.gamma(shape, 1.0 / (rate * shape), size=count)
    return np.cumsum(gaps, dtype=np.float64)


def quiet_then_burst(*, quiet: int, gap_s: float, burst: int) -> Times:
    """`quiet` arrivals `gap_s` apart, then `burst` at once."""
    calm = gap_s * np.arange(quiet, dtype=np.float64)
    return np.concatenate([calm, np.full(burst, gap_s * quiet)])


def recorded(file: Path) -> Times:
    """Arrival times in seconds, one a line, counted from the first.

    Raises:
        ValueError: a line is no number, or there is none.
    """
    times = np.sort(np.array([float(line) for line in file.read_text().split()]))
    if not times.size or not np.isfinite(times).all():
        raise ValueError(f"{file} holds no arrival times: one number of seconds a line")
    counted: Times = times - times[0]
    return counted
