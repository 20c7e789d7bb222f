"""How a load changes in time: a spike, a ramp, a day; and arrivals of such a load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.simulation.arrivals import Times, bursty

STEP_S = 0.25
"""Between two rates of a load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrivals a second over time.

    Attributes:
        rates: at `STEP_S` apart, in images a second.
        judged: seconds from and to which requests are judged that come in them.
    """

    name: str
    rates: NDArray[np.float64]
    judged: tuple[float, float]

    @property
    def lasts_s(self) -> float:
        """How long it goes on."""
        return len(self.rates) * STEP_S

    @property
    def images(self) -> float:
        """How many come, on average."""
        return float(self.rates.sum()) * STEP_S

    def times(self, rng: np.random.Generator, *, cv: float = 1.0) -> Times:
        """Arrivals: a renewal process of rate 1, its clock running as fast as the load.

        Args:
            cv: of the gaps; 1 is Poisson.
        """
        passed = np.concatenate([[0.0], np.cumsum(self.rates) * STEP_S])
        count = int(passed[-1] + 6 * cv * np.sqrt(passed[-1]) + 20)
        ticks = bursty(1.0, count, cv, rng)
        ticks = ticks[ticks < passed[-1]]
        clock = np.arange(len(passed)) * STEP_S
        return np.asarray(np.interp(ticks, passed, clock), dtype=np.float64)


def steady(rate: float, *, before_s: float, lasts_s: float) -> Load:
    """`rate` a second; the first `before_s` are not judged."""
    return Load(
        name="steady", rates=_held(rate, before_s + lasts_s), judged=(before_s, before_s + lasts_s)
    )


def spike(
    base: float, factor: float, *, before_s: float = 120.0, lasts_s: float = 300.0, after_s: float
) -> Load:
    """`base` a second, at once `factor` times as many, and as suddenly back."""
    rates = [_held(base, before_s), _held(base * factor, lasts_s), _held(base, after_s)]
    return Load(
        name=f"spike {factor:g}×",
        rates=np.concatenate(rates),
        judged=(before_s, before_s + lasts_s),
    )


def ramp(
    base: float,
    factor: float,
    *,
    before_s: float = 120.0,
    rises_s: float = 300.0,
    holds_s: float = 120.0,
) -> Load:
    """`base` a second, evenly up to `factor` times as many in `rises_s`, and held."""
    up = np.linspace(base, base * factor, round(rises_s / STEP_S))
    rates = [_held(base, before_s), up, _held(base * factor, holds_s)]
    lasts_s = before_s + rises_s + holds_s
    return Load(
        name=f"ramp {factor:g}× in {rises_s:g} s",
        rates=np.concatenate(rates),
        judged=(before_s, lasts_s),
    )


def day(mean: float, *, lasts_s: float = 3600.0, swing: float = 0.8) -> Load:
    """A day pressed into `lasts_s`: a night at `1 - swing` of the mean, a noon at `1 + swing`."""
    at = np.arange(0, lasts_s, STEP_S)
    rates = mean * (1 - swing * np.cos(2 * np.pi * at / lasts_s))
    return Load(name=f"day in {lasts_s / 60:g} min", rates=rates, judged=(0.0, lasts_s))


def noise(
    mean: float, *, rng: np.random.Generator, lasts_s: float = 1800.0, sigma: float = 0.2
) -> Load:
    """A steady mean whose rate wanders: lognormal, correlated over half a minute."""
    steps = round(lasts_s / STEP_S)
    stays = np.exp(-STEP_S / 30.0)
    shocks = rng.normal(0.0, np.sqrt(1 - stays**2), steps)
    walk = np.empty(steps)
    at = float(rng.normal())
    for step, shock in enumerate(shocks):
        at = stays * at + shock
        walk[step] = at
    rates = mean * np.exp(sigma * walk - sigma**2 / 2)
    return Load(name=f"noise ±{sigma:.0%}", rates=rates, judged=(0.0, lasts_s))


def _held(rate: float, seconds: float) -> NDArray[np.float64]:
    return np.full(round(seconds / STEP_S), rate)
