"""How many replicas a steady load needs: the fewest that keep the SLO when they are simulated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cxrserve.capacity.asking import Asked
from cxrserve.simulation.autoscaled import ENOUGH, Fleet, Outcome, run
from cxrserve.simulation.device import Hardware
from cxrserve.simulation.loads import steady

REQUESTS = 20_000
"""That a trial simulates: of them two hundred may miss the SLO."""

_AT_MOST_SIMULATED = 8
_HOPELESS_LOAD = 0.02


class Impossible(ValueError):
    """No number of replicas does what is asked; says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """So many replicas under a steady load, simulated."""

    replicas: int
    load: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Enough:
    """The fewest replicas that keep the SLO, and how one fewer fails (None: one is the fewest)."""

    kept: Trial
    failed: Trial | None


def fewest(
    hardware: Hardware, asked: Asked, rate: float, *, seed: int, requests: int = REQUESTS
) -> Enough:
    """The fewest replicas for `rate` images a second; both it and one fewer are simulated.

    Raises:
        Impossible: one image alone takes longer than the SLO, or nearly.
    """
    alone_s = hardware.table.seconds(1) + hardware.host_s
    if alone_s > asked.slo_s:
        raise Impossible(
            f"one image alone takes {alone_s * 1e3:.1f} ms here (network "
            f"{hardware.table.seconds(1) * 1e3:.1f}, reading it and the rest "
            f"{hardware.host_s * 1e3:.1f}): no number of replicas answers within "
            f"{asked.slo_s * 1e3:g} ms. Allow more time, or take faster hardware or another model"
        )
    trials: dict[int, Trial] = {}

    def keeps(count: int) -> bool:
        if count not in trials:
            trials[count] = trial(hardware, asked, rate, count, seed=seed, requests=requests)
        return trials[count].outcome.in_time >= ENOUGH

    least = max(1, math.floor(rate * ENOUGH / hardware.rate()))
    most = math.ceil(rate / (_HOPELESS_LOAD * hardware.rate()))
    count = _first(keeps, least, max(most, least))
    if count is None:
        raise Impossible(
            f"even at {_HOPELESS_LOAD:.0%} load {1 - ENOUGH:.0%} take longer than "
            f"{asked.slo_s * 1e3:g} ms: one image alone takes {alone_s * 1e3:.1f} ms on average, "
            f"and times vary by {hardware.noise:.0%}. Allow more time"
        )
    return Enough(trials[count], trials.get(count - 1))


def _first(keeps: Callable[[int], bool], least: int, most: int) -> int | None:
    """The first count that keeps, where the one before it does not; steps double, then halve."""
    while least > 1 and keeps(least):
        least -= 1
    if keeps(least):
        return least
    fails, step = least, 1
    while not keeps(min(fails + step, most)):
        fails = min(fails + step, most)
        if fails == most:
            return None
        step *= 2
    enough = min(fails + step, most)
    while enough - fails > 1:
        middle = (fails + enough) // 2
        fails, enough = (fails, middle) if keeps(middle) else (middle, enough)
    return enough


def trial(
    hardware: Hardware,
    asked: Asked,
    rate: float,
    replicas: int,
    *,
    seed: int,
    requests: int = REQUESTS,
) -> Trial:
    """Simulate replicas under Poisson arrivals.

    Of more than eight, eight are simulated with their share: shared out at random, a Poisson
    stream falls into independent ones, so that they stand for all.
    """
    shown = min(replicas, _AT_MOST_SIMULATED)
    fleet = Fleet(
        hardware=hardware, slo_s=asked.slo_s, replicas=shown, shares=asked.shares,
        balancer=asked.balancer,
    )  # fmt: skip
    share = rate * shown / replicas
    before_s = 4 * asked.slo_s
    load = steady(share, before_s=before_s, lasts_s=max(requests / share, 8 * asked.slo_s))
    _, outcome = run(fleet, load, seed=seed)
    return Trial(replicas, rate / replicas / hardware.rate(), outcome)
