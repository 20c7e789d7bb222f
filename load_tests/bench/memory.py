"""Resident memory of a server over time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil

from load_tests.bench.processes import family


@dataclass(slots=True)
class Memory:
    """Samples of resident memory, of all processes of a server together: (s, MiB), ascending."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def at(self, seconds: float) -> float:
        """MiB of the first sample from then on; of the last if there is none."""
        later = (mib for when, mib in self.samples if when >= seconds)
        return next(later, self.samples[-1][1])

    def growth(self, *, since_s: float = 0.0) -> float:
        """What it has grown by from then to the last sample, as a share of what it was then."""
        return self.samples[-1][1] / self.at(since_s) - 1

    def as_dict(self) -> dict[str, float]:
        """Start, end, largest and growth, for the result file."""
        seen = [mib for _, mib in self.samples]
        return {
            "start_mib": round(seen[0], 1),
            "end_mib": round(seen[-1], 1),
            "max_mib": round(max(seen), 1),
            "growth": round(self.growth(), 4),
        }


@asynccontextmanager
async def sampled(server: psutil.Process, *, every_s: float) -> AsyncIterator[Memory]:
    """Sample a server's memory while the context lasts, and once more at its end.

    Who belongs to the server is looked up at the start and at the end; a sample between reads one
    file of each of these processes, so that the load generator is not held up.
    """
    memory, start = Memory(), time.perf_counter()

    def sample(processes: list[psutil.Process]) -> None:
        memory.samples.append((time.perf_counter() - start, _mib(processes)))

    async def keep_sampling(processes: list[psutil.Process]) -> None:
        for number in range(1, 1_000_000_000):
            await asyncio.sleep(max(0.0, start + number * every_s - time.perf_counter()))
            sample(processes)

    sample(family(server))
    task = asyncio.create_task(keep_sampling(family(server)))
    try:
        yield memory
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        sample(family(server))


def _mib(processes: list[psutil.Process]) -> float:
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 2**20
