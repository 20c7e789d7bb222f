"""Several replicas: which of them gets a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
