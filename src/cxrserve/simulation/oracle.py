"""How many requests anyone could have answered in time: a bound, and for a few the exact number.

The bound holds for who knows all arrivals beforehand. It is the smaller of two relaxations, both
for requests of one image and for mean times (with noise it holds on average only):

- *Slices.* A batch of b takes at least b / (best rate), so each request in it has a slice of
  1 / (best rate) to itself within [arrival, deadline]. Slices on a grid, windows rounded outwards:
  unit jobs in unit slots, of which earliest deadline first serves most.
- *Stretches.* Requests that must both come and be answered within a stretch of time L run in whole
  batches within it, so there are at most N(L) of them, the most images whose batches fit in L.
  Where later arrivals have later deadlines, one pass gives the most requests under all of these
  constraints at once, P(j) = min(P(j-1) + 1, min over i of P(i-1) + N(d_j - a_i)); elsewhere
  deadlines are first moved outwards until they are in that order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.line import Waiting
from cxrserve.batching.policy import OVERLAP
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.device import Hardware

_TOLERANCE_S = 1e-9
_RECENT = 2048


def upper_bound(requests: Sequence[Waiting], hardware: Hardware, *, replicas: int = 1) -> int:
    """No dispatcher answers more of these requests in time."""
    shortest_s = hardware.table.seconds(1)
    possible = sorted(
        (r for r in requests if r.deadline - r.arrived >= shortest_s - _TOLERANCE_S),
        key=lambda r: (r.arrived, r.deadline),
    )
    if not possible:
        return 0
    return min(
        _by_slices(possible, hardware, replicas), _by_stretches(possible, hardware, replicas)
    )


def _by_slices(requests: list[Waiting], hardware: Hardware, replicas: int) -> int:
    longest_s = max(r.deadline - r.arrived for r in requests)
    slice_s = 1 / (_usable_rate(hardware, longest_s) * replicas)
    origin = requests[0].arrived
    # The first part of a batch on a shared device is copying; slices lie in the rest.
    copied_s = OVERLAP * hardware.table.seconds(1) if _overlaps(hardware) else 0.0
    ready = [
        (
            math.floor((r.arrived + copied_s - origin) / slice_s - 1e-6),
            math.ceil((r.deadline - origin) / slice_s + 1e-6),
        )
        for r in requests
    ]
    served, slot, arrived = 0, 0, 0
    due: list[int] = []
    while arrived < len(ready) or due:
        if not due:
            slot = max(slot, ready[arrived][0])
        while arrived < len(ready) and ready[arrived][0] <= slot:
            heapq.heappush(due, ready[arrived][1])
            arrived += 1
        while due and due[0] <= slot:
            heapq.heappop(due)
        if due:
            heapq.heappop(due)
            served += 1
            slot += 1
    return served


def _usable_rate(hardware: Hardware, longest_s: float) -> float:
    """Images a second of all slots, at the best size that ends within `longest_s`."""
    table = hardware.table
    sizes = range(1, table.largest + 1)
    rate = max(b / table.seconds(b) for b in sizes if table.seconds(b) <= longest_s + _TOLERANCE_S)
    if hardware.independent:
        return rate * hardware.slots
    return rate / (1 - OVERLAP) if _overlaps(hardware) else rate


def _by_stretches(requests: list[Waiting], hardware: Hardware, replicas: int) -> int:
    stretch = _shortest_stretch(hardware, len(requests))
    at_once = replicas * (hardware.slots if hardware.independent else 1)
    arrived = np.array([r.arrived for r in requests])
    deadline = np.maximum.accumulate([r.deadline for r in requests])
    # served[j]: the most of the first j requests.
    served = np.zeros(len(requests) + 1)
    for j in range(len(requests)):
        # Any choice of constraints gives a bound: all recent ones, and some of the rest.
        since = max(0, j + 1 - _RECENT)
        i = np.concatenate([np.arange(0, since, 16), np.arange(since, j + 1)])
        fits = np.searchsorted(stretch, deadline[j] - arrived[i] + _TOLERANCE_S, side="right") - 1
        served[j + 1] = min(served[j] + 1, float(np.min(served[i] + at_once * fits)))
    return int(served[-1])


def _shortest_stretch(hardware: Hardware, images: int) -> NDArray[np.float64]:
    """The shortest time in which one slot runs 0, 1, 2 … images, whatever the batches."""
    table = hardware.table
    batch_s = np.array([table.seconds(size) for size in range(1, table.largest + 1)])
    share = 1 - OVERLAP if _overlaps(hardware) else 1.0
    run_s = np.zeros(images + 1)
    stretch = np.zeros(images + 1)
    for n in range(1, images + 1):
        b = min(n, table.largest)
        before = run_s[n - b : n][::-1]
        run_s[n] = np.min(before + share * batch_s[:b])
        # The first batch of a stretch hides its copying behind nothing within the stretch.
        stretch[n] = np.min(before + batch_s[:b])
    return stretch


def _overlaps(hardware: Hardware) -> bool:
    return hardware.slots > 1 and not hardware.independent


def most_in_time(requests: Sequence[Waiting], hardware: Hardware) -> int:
    """The exact number, by trying every schedule: for a handful of requests (eight take a second).

    Without noise.
    """
    table = hardware.table
    count = len(requests)

    @cache
    def best(left: frozenset[int], busy: tuple[float, ...]) -> int:
        most = 0
        for size in range(1, min(len(left), table.largest) + 1):
            for batch in combinations(sorted(left), size):
                for after in _runs(batch, busy):
                    most = max(most, size + best(left - frozenset(batch), after))
                    if most == len(left):
                        return most
        return most

    def _runs(batch: tuple[int, ...], busy: tuple[float, ...]) -> list[tuple[float, ...]]:
        """The slots after this batch, if it is in time: one state, as slots are alike."""
        came = max(requests[i].arrived for i in batch)
        due = min(requests[i].deadline for i in batch)
        ends, after = _run(came, table, len(batch), busy, hardware)
        return [after] if ends <= due + _TOLERANCE_S else []

    return best(frozenset(range(count)), (-math.inf,) * hardware.slots)


def _run(
    came: float, table: LatencyTable, size: int, busy: tuple[float, ...], hardware: Hardware
) -> tuple[float, tuple[float, ...]]:
    """When a batch ends that starts as soon as it can, and the slots' ends then, ascending."""
    start = max(came, busy[0])
    ends = start + table.seconds(size)
    if _overlaps(hardware):
        ends = max(ends, busy[-1] + (1 - OVERLAP) * table.seconds(size))
    return ends, tuple(sorted((*busy[1:], ends)))
