"""What runs batches: the streams of a CPU, or the two slots that share a GPU."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrserve.batching.policy import OVERLAP, Slots
from cxrserve.engines.latency import SIZES, LatencyTable

MEASURED = Path(__file__).parent / "tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A device to simulate.

    Attributes:
        table: the mean time of a batch by its size.
        slots: batches in flight.
        independent: the slots do not slow each other; otherwise batches run one after the other,
            and a batch copies its first quarter while the one before it still runs.
        noise: standard deviation of the logarithm of a batch's time; its mean stays the table's.
        host_s: time on a thread of the processors that decoding an image takes.
        host_threads: threads that decode, where the networks have a device of their own
            (`independent` is false); else decoding and networks share the slots.
    """

    name: str
    table: LatencyTable
    slots: int = 2
    independent: bool = False
    noise: float = 0.0
    host_s: float = 0.0
    host_threads: int = 2

    def rate(self) -> float:
        """The most images a second that it can decode and run."""
        alone = self.table.best_rate()
        if self.independent:
            return self.slots / (1 / alone + self.host_s)
        if self.slots > 1:
            alone /= 1 - OVERLAP
        return min(alone, self.host_threads / self.host_s) if self.host_s else alone


def hardware(
    name: str, *, slots: int = 2, noise: float | None = None, host_s: float | None = None
) -> Hardware:
    """The device of this name, or of a file with `LatencyTable.as_dict`.

    A file may say more: `independent`, `noise` and `host_s`, which hold where they are not given.

    Raises:
        ValueError: neither a known name nor a readable file.
    """
    said: dict[str, Any] = {}
    if name in TABLES:
        table, independent = TABLES[name]
    else:
        file = MEASURED / f"{name}.json" if name in measured() else Path(name)
        if not file.is_file():
            known = ", ".join((*TABLES, *measured()))
            raise ValueError(f"no table {name}: name a file or one of {known}")
        said = json.loads(file.read_text())
        table = LatencyTable.from_dict(said)
        independent = bool(said.get("independent", False))
        name = file.stem
    return Hardware(
        name=name,
        table=table,
        slots=slots,
        independent=independent,
        noise=float(said.get("noise", 0.0)) if noise is None else noise,
        host_s=float(said.get("host_s", 0.0)) if host_s is None else host_s,
    )


def measured() -> tuple[str, ...]:
    """Names of the tables that were measured; each file says on what, when and how."""
    return tuple(sorted(file.stem for file in MEASURED.glob("*.json")))


def stepped(buckets: dict[int, float]) -> LatencyTable:
    """A network compiled for some sizes: any other batch is filled up to the next of them."""
    times = {}
    for size in range(1, max(buckets) + 1):
        times[size] = buckets[min(bucket for bucket in buckets if bucket >= size)]
    return LatencyTable(times)


TABLES: dict[str, tuple[LatencyTable, bool]] = {
    "gpu-flat": (LatencyTable.flat(0.010, (*SIZES, 24, 32)), False),
    "gpu-affine": (LatencyTable.linear(0.004, 0.0005, (*SIZES, 24, 32)), False),
    "gpu-stepped": (stepped({1: 0.004, 4: 0.005, 8: 0.007, 16: 0.011, 32: 0.019}), False),
    "cpu-linear": (LatencyTable.linear(0.0, 0.030, SIZES), True),
    "cpu-affine": (LatencyTable.linear(0.010, 0.025, SIZES), True),
}
"""Tables to try: time by size, and whether slots are independent. Made up, of realistic shapes."""


@dataclass(slots=True)
class _Flight:
    ends: float
    expected: float


class Device:
    """Runs batches under a virtual clock, and decodes where its slots are the processors."""

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        self._hardware, self._rng = hardware, rng
        self._flights: list[_Flight] = []
        self._slots: Slots | None = None
        self.busy_s = 0.0

    def processors(self) -> Device:
        """What decodes: these slots, or threads beside a device that is for networks only."""
        machine = self._hardware
        if machine.independent:
            return self
        threads = replace(machine, slots=machine.host_threads, independent=True)
        return Device(threads, self._rng)

    @property
    def in_flight(self) -> int:
        """Batches that run."""
        return len(self._flights)

    def slots(self) -> Slots:
        """What a dispatcher may know: expected ends, not the true ones."""
        if self._slots is None:
            self._slots = Slots(
                free=self._hardware.slots - len(self._flights),
                busy_until=tuple([flight.expected for flight in self._flights]),
                independent=self._hardware.independent,
            )
        return self._slots

    def start(self, images: int, now: float) -> tuple[float, float]:
        """Run a batch; returns when it ends and how long it takes by itself, in seconds.

        Raises:
            RuntimeError: no slot is free.
        """
        if len(self._flights) >= self._hardware.slots:
            raise RuntimeError("a dispatcher ran a batch where no slot was free")
        mean_s = self._hardware.table.seconds(images)
        own_s = mean_s * self._noise()
        flight = _Flight(now + own_s, now + mean_s)
        idle_from = now
        if self._flights and not self._hardware.independent:
            before = self._flights[-1]
            flight.ends = max(flight.ends, before.ends + (1 - OVERLAP) * own_s)
            flight.expected = max(flight.expected, before.expected + (1 - OVERLAP) * mean_s)
            idle_from = before.ends
        self.busy_s += flight.ends - idle_from
        self._fly(flight)
        return flight.ends, own_s

    def decode(self, now: float) -> float:
        """Decode one image on a slot; returns when it ends.

        Raises:
            RuntimeError: no slot is free.
        """
        if len(self._flights) >= self._hardware.slots:
            raise RuntimeError("an image was decoded where no slot was free")
        mean_s = self._hardware.host_s
        own_s = mean_s * self._noise()
        self.busy_s += own_s
        self._fly(_Flight(now + own_s, now + mean_s))
        return now + own_s

    def finish(self, ended: float) -> None:
        """A batch has ended, or an image is decoded."""
        done = next(flight for flight in self._flights if flight.ends == ended)
        self._flights.remove(done)
        self._slots = None

    def _fly(self, flight: _Flight) -> None:
        self._flights.append(flight)
        self._slots = None

    def capacity(self) -> int:
        """Slots that can be busy at once, for utilisation."""
        return self._hardware.slots if self._hardware.independent else 1

    def _noise(self) -> float:
        sigma = self._hardware.noise
        if not sigma:
            return 1.0
        return math.exp(float(self._rng.normal(-(sigma**2) / 2, sigma)))
