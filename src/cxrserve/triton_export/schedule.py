"""How Triton's dynamic batcher is set, from the latency table and the time to answer: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxrserve.batching.line import Priority
from cxrserve.engines.latency import GPU_SIZES, LatencyTable
from cxrserve.triton_export.errors import NotExportable

_ENOUGH_BETTER = 1.05
"""A preferred size gives this many times the images a second of the one below it. Less is within
what two measurements differ by, and would make requests wait for nothing."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Settings of the dynamic batcher.

    Attributes:
        largest: images of the largest batch.
        preferred: sizes worth waiting for, ascending; none where batching gains nothing.
        delay_us: how long a request waits for others while an instance is free, in microseconds.
        queue: requests of each class that may wait.
    """

    largest: int
    preferred: tuple[int, ...]
    delay_us: int
    queue: Mapping[Priority, int]

    @property
    def warmed(self) -> tuple[int, ...]:
        """Batch sizes that are run before the first request: one, the preferred, the largest."""
        return tuple(sorted({1, *self.preferred, self.largest}))


def schedule(
    table: LatencyTable, slo_ms: Mapping[Priority, float], *, instances: int, independent: bool
) -> Schedule:
    """The settings for a network whose batches take what the table says.

    Args:
        table: seconds of a batch by its size, on the machine that will run Triton.
        slo_ms: time to answer of each class.
        instances: batches in flight.
        independent: instances do not slow each other (cores of a CPU); else they share a GPU.

    Raises:
        NotExportable: no request that finds the device busy could be answered in time.
    """
    slo_s = min(slo_ms.values()) / 1e3
    largest = _largest(table, slo_s)
    preferred = _preferred(table, largest)
    delay_s = 0.0
    if preferred:
        delay_s = min(_saved_s(table, preferred[-1]), slo_s - 2 * table.seconds(largest))
    rate = table.best_rate() * (instances if independent else 1)
    # Who stands behind more than can be run in its time only waits to be refused.
    queue = {level: max(1, round(rate * slo / 1e3)) for level, slo in slo_ms.items()}
    return Schedule(largest, preferred, max(0, int(delay_s * 1e6)), queue)


def unmeasured(slo_ms: Mapping[Priority, float], queue: int) -> Schedule:
    """The settings where no table is at hand: whatever waits is merged, nothing waits for more."""
    return Schedule(GPU_SIZES[-1], (), 0, dict.fromkeys(slo_ms, queue))


def _largest(table: LatencyTable, slo_s: float) -> int:
    """The largest batch that may be met twice: once in the way, once as one's own."""
    fitting = [size for size in table.sizes if 2 * table.seconds(size) <= slo_s]
    if not fitting:
        raise NotExportable(
            f"a batch of one takes {table.seconds(1) * 1e3:.1f} ms: who comes while one runs "
            f"cannot be answered within {slo_s * 1e3:g} ms",
            advice="give a longer --slo-ms, more --threads, or a table of a faster device",
        )
    return fitting[-1]


def _preferred(table: LatencyTable, largest: int) -> tuple[int, ...]:
    chosen: list[int] = []
    rate = 1 / table.seconds(1)
    for size in table.sizes[1:]:
        if size <= largest and size / table.seconds(size) >= _ENOUGH_BETTER * rate:
            chosen.append(size)
            rate = size / table.seconds(size)
    return tuple(chosen)


def _saved_s(table: LatencyTable, size: int) -> float:
    """Time of the device that an image saves by sharing a batch instead of running alone.

    Waiting as long as that at most, whatever comes, costs no more than twice what the best
    decision in hindsight would have cost (ski rental, Karlin et al. 1988).
    """
    marginal = (table.seconds(size) - table.seconds(1)) / (size - 1)
    return table.seconds(1) - marginal
