"""Every dispatcher against tables, loads and burstiness: where is ours not the best?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cxrserve.batching.line import Waiting
from cxrserve.simulation.arrivals import Crowd, bursty
from cxrserve.simulation.bentoml_rule import BentoMl
from cxrserve.simulation.device import TABLES, Hardware, hardware
from cxrserve.simulation.dispatchers import Dispatcher, Ours, Triton, Window
from cxrserve.simulation.figures import Figures, figures
from cxrserve.simulation.oracle import upper_bound
from cxrserve.simulation.world import World

LOADS = (0.5, 0.8, 1.0, 1.5, 2.0)
BURSTINESS = (1.0, 3.0)
OURS = "cxrserve"
ENOUGH = 0.95
_FEWEST = 1000


def default_slo_s(machine: Hardware) -> float:
    """Five batches of the size that gives most images a second."""
    table = machine.table
    best = min(table.sizes, key=lambda size: (-round(size / table.seconds(size), 6), size))
    return 5 * table.seconds(best)


def dispatchers(machine: Hardware, slo_s: float) -> dict[str, Callable[[], Dispatcher]]:
    """Ours and the baselines, each set up as a careful operator would for this deadline.

    Their largest batch takes at most half the deadline, and Triton's queue timeout leaves a full
    batch its time.
    """
    table = machine.table
    largest = max(size for size in table.sizes if size == 1 or table.seconds(size) <= slo_s / 2)
    full_s = table.seconds(largest)
    workers = machine.slots if machine.independent else 1
    # A batch may have to wait for the one in flight on a shared device.
    timeout_s = max(slo_s - full_s * (1.0 if machine.independent else 1.75), 0.0)
    delay_s = slo_s / 20
    return {
        OURS: lambda: Ours(table, host_s=machine.host_s),
        "bentoml": lambda: BentoMl(largest=largest, limit_s=slo_s, workers=workers),
        "triton": lambda: Triton(largest=largest, delay_s=delay_s, timeout_s=timeout_s),
        "window": lambda: Window(largest=largest, window_s=delay_s),
        "batch 1": lambda: Window(largest=1, window_s=0.0),
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """One load on one device."""

    table: str
    load: float
    cv: float
    bound: int
    rows: tuple[Figures, ...]

    @property
    def ours(self) -> Figures:
        """Our figures."""
        return next(row for row in self.rows if row.dispatcher == OURS)

    def best_baseline(self) -> Figures:
        """The baseline that answers most in time."""
        return max((r for r in self.rows if r.dispatcher != OURS), key=lambda row: row.served)

    def complaints(self) -> list[str]:
        """Where ours is below the bound's 95 %, or behind a baseline, in all or in stat."""
        found = []
        ours = self.ours
        if ours.of_bound < ENOUGH:
            found.append(f"{ours.of_bound:.1%} of the bound")
        for row in self.rows:
            if row.served > ours.served:
                found.append(f"behind {row.dispatcher}: {ours.served} < {row.served}")
            if row.in_time.get("stat", 0.0) > ours.in_time.get("stat", 0.0):
                stat = f"{ours.in_time['stat']:.1%} < {row.in_time['stat']:.1%}"
                found.append(f"behind {row.dispatcher} in stat: {stat}")
        return found


def compare(
    requests: Sequence[Waiting], machine: Hardware, slo_s: float, *, seed: int
) -> tuple[int, tuple[Figures, ...]]:
    """The bound, and every dispatcher's figures."""
    bound = upper_bound(requests, machine)
    rows = tuple(
        figures(name, World(make, machine, seed=seed).run(requests), bound)
        for name, make in dispatchers(machine, slo_s).items()
    )
    return bound, rows


def grid(
    *,
    spans: float,
    seed: int,
    noise: float,
    slo_factor: float = 1.0,
    tables: Sequence[str] = tuple(TABLES),
    loads: Sequence[float] = LOADS,
    burstiness: Sequence[float] = BURSTINESS,
) -> Iterator[Cell]:
    """Run all combinations, each as long as `spans` deadlines, of a thousand requests at least.

    Args:
        noise: see `Hardware`.
        slo_factor: times `default_slo_s`.
    """
    for name in tables:
        machine = hardware(name, noise=noise)
        slo_s = default_slo_s(machine) * slo_factor
        for load in loads:
            for cv in burstiness:
                rng = np.random.default_rng(seed)
                rate = load * machine.rate()
                times = bursty(rate, max(_FEWEST, round(rate * slo_s * spans)), cv, rng)
                requests = Crowd.with_one_slo(slo_s).arriving(times, rng)
                yield Cell(name, load, cv, *compare(requests, machine, slo_s, seed=seed))
