"""Runs the scenarios: every server in every round, in alternating order."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from load_tests.bench.measures import Summary, median_of
from load_tests.bench.server import Server
from load_tests.bench.session import Measured
from load_tests.bench.stand import Stand

OFFLINE = "offline"
SEED = 20_250_101


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        seconds: length of one measurement.
        warm_up_seconds: load before it that is not counted.
        clients: closed loops with so many clients.
        loads: open loops at so many % of the server's capacity.
        capacity: images a second that `loads` are shares of; None: each server's own, its best
            closed loop in the same round.
        slo_ms: an answer that comes later is no goodput.
        offline_gate: measure the offline limit with the quality gate as well.
    """

    seconds: float
    rounds: int
    warm_up_seconds: float
    clients: tuple[int, ...]
    loads: tuple[int, ...]
    capacity: float | None
    slo_ms: float
    offline_gate: bool = False


@dataclass(slots=True)
class Cell:
    """A server under one load: a measurement a round."""

    server: str
    kind: str  # "closed": level is clients; "open": % of capacity; "burst": requests at once
    level: int
    rounds: list[Measured] = field(default_factory=list)

    @property
    def median(self) -> Summary:
        """Figure by figure over the rounds."""
        return median_of([one.summary for one in self.rounds])


@dataclass(slots=True)
class Results:
    """Everything that was measured.

    Attributes:
        cells: in the order they were first measured.
        offline: images a second of each way to loop, a dict a round.
        offline_gated: the same, the quality gate included.
        capacities: server → images a second, where the scenario needed them first.
        deadline_ms: of a burst.
    """

    cells: dict[tuple[str, str, int], Cell] = field(default_factory=dict)
    offline: list[dict[str, float]] = field(default_factory=list)
    offline_gated: list[dict[str, float]] = field(default_factory=list)
    capacities: dict[str, float] = field(default_factory=dict)
    deadline_ms: float | None = None

    @property
    def offline_limit(self) -> float | None:
        """Images a second: the median over rounds of the better way to loop."""
        return _median_of_best(self.offline)

    @property
    def gated_limit(self) -> float | None:
        """The same with the quality gate: the limit of who runs it."""
        return _median_of_best(self.offline_gated)

    def best_rate(self, server: str) -> float | None:
        """Saturated throughput: the best closed loop's median."""
        rates = [
            cell.median.answered_rate
            for cell in self.cells.values()
            if cell.server == server and cell.kind == "closed"
        ]
        return max(rates, default=None)

    def add(self, server: str, kind: str, level: int, measured: Measured) -> None:
        """Note one round's measurement."""
        cell = self.cells.setdefault((server, kind, level), Cell(server, kind, level))
        cell.rounds.append(measured)


def alternating(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Forwards in even rounds, backwards in odd ones: a machine that drifts favours nobody."""
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


class Runner:
    """Measures servers on a stand.

    Args:
        servers: those to measure, by name.
        stand: where they run.
    """

    def __init__(self, servers: dict[str, Server], stand: Stand) -> None:
        self._servers, self._stand = servers, stand
        self._tell = stand.tell
        self.results = Results()

    async def load(self, plan: Plan) -> Results:
        """Closed and open loops, and the offline limit between them."""
        for number, name in alternating([OFFLINE, *self._servers], plan.rounds):
            if name == OFFLINE:
                await self._offline_limits(plan, number)
                continue
            with self._stand.noting_failure(name):
                await self._load_one(name, plan, number)
        return self.results

    async def burst(self, plan: Plan, *, quiet: int, size: int, margin: float) -> Results:
        """Quiet, then `size` at once, with `margin` times the time that the slowest needs for them.

        The deadline is `margin * size / capacity`, the capacity measured first and in a process of
        its own; it is also the SLO that servers are configured with.
        """
        capacities: dict[str, float] = {}
        for name, server in self._servers.items():
            self._tell(f"{name}: capacity")
            with self._stand.noting_failure(name):
                async with self._stand.asked(server, slo_ms=plan.slo_ms) as asked:
                    await asked.warm_up(seconds=plan.warm_up_seconds)
                    measured = await asked.closed(clients=16, seconds=plan.seconds)
                    capacities[name] = measured.summary.answered_rate
        self.results.capacities = capacities
        if not capacities:
            return self.results
        slowest = max(min(capacities.values()), 1.0)
        slo_ms = float(math.ceil(1e3 * margin * size / slowest))
        self.results.deadline_ms = slo_ms
        for number, name in alternating(list(capacities), plan.rounds):
            self._tell(f"round {number + 1}: {name}, {size} at once, {slo_ms:.0f} ms")
            with self._stand.noting_failure(name):
                async with self._stand.asked(self._servers[name], slo_ms=slo_ms) as asked:
                    measured = await asked.quiet_then_burst(quiet=quiet, burst=size)
                    self.results.add(name, "burst", size, measured)
        return self.results

    async def _offline_limits(self, plan: Plan, number: int) -> None:
        self._tell(f"round {number + 1}: offline limit")
        self.results.offline.append((await self._stand.offline(plan.seconds))["rates"])
        if plan.offline_gate:
            self._tell(f"round {number + 1}: offline limit with the gate")
            gated = await self._stand.offline(plan.seconds, gate=True)
            self.results.offline_gated.append(gated["rates"])

    async def _load_one(self, name: str, plan: Plan, number: int) -> None:
        self._tell(f"round {number + 1}: {name}, starting")
        async with self._stand.asked(self._servers[name], slo_ms=plan.slo_ms) as asked:
            await asked.warm_up(seconds=plan.warm_up_seconds)
            best = 0.0
            for clients in plan.clients:
                self._tell(f"round {number + 1}: {name}, {clients} clients")
                measured = await asked.closed(clients=clients, seconds=plan.seconds)
                best = max(best, measured.summary.answered_rate)
                self.results.add(name, "closed", clients, measured)
            capacity = plan.capacity or best
            for percent in plan.loads:
                self._tell(f"round {number + 1}: {name}, {percent} % of {capacity:.1f}/s")
                measured = await asked.open(
                    # A server that answered nothing is still asked, and seen to answer nothing.
                    rate=max(capacity, 1.0) * percent / 100,
                    seconds=plan.seconds,
                    # Another schedule each round, the same for every server.
                    seed=SEED + number,
                )
                self.results.add(name, "open", percent, measured)


def _median_of_best(rounds: Sequence[dict[str, float]]) -> float | None:
    best = [max(rates.values()) for rates in rounds]
    return statistics.median(best) if best else None
