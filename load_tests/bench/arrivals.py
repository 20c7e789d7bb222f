"""When requests arrive in an open loop: nobody waits for anybody's answer."""

from __future__ import annotations

import numpy as np


def poisson(*, rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times of a Poisson process.

    Args:
        rate: arrivals a second, on average.
        seconds: length of the schedule.
        seed: the same seed, the same schedule.

    Returns:
        Ascending times in seconds from the start, each below `seconds`.

    Raises:
        ValueError: rate or length is not positive.
    """
    if rate <= 0 or seconds <= 0:
        raise ValueError(f"rate and seconds must be positive, not {rate} and {seconds}")
    rng = np.random.default_rng(seed)
    times: list[float] = []
    now = rng.exponential(1 / rate)
    while now < seconds:
        times.append(float(now))
        now += rng.exponential(1 / rate)
    return times
