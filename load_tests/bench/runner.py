"""Runs the scenarios: every server in every round, in alternating order."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from load_tests.bench.http_client import BadResponse
from load_tests.bench.measures import Summary, median_of
from load_tests.bench.processes import NotStarted, Pinning
from load_tests.bench.server import Probabilities, Server
from load_tests.bench.servers import ROOT
from load_tests.bench.session import Disagrees, Measured, Session, session
from load_tests.bench.subject import Subject

OFFLINE = "offline"
_SEED = 20_250_101

Tell = Callable[[str], None]


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
        tolerance: largest difference of a probability to the network's own.
    """

    seconds: float
    rounds: int
    warm_up_seconds: float
    clients: tuple[int, ...]
    loads: tuple[int, ...]
    capacity: float | None
    slo_ms: float
    tolerance: float


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
        differences: server → largest difference of a probability to the network's own.
        failures: server → why a round of it gave no figures, where one gave none.
        capacities: server → images a second, where the scenario needed them first.
        deadline_ms: of a burst.
    """

    cells: dict[tuple[str, str, int], Cell] = field(default_factory=dict)
    offline: list[dict[str, float]] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    capacities: dict[str, float] = field(default_factory=dict)
    deadline_ms: float | None = None

    @property
    def offline_limit(self) -> float | None:
        """Images a second: the median over rounds of the better way to loop."""
        rates = [max(rates.values()) for rates in self.offline]
        return statistics.median(rates) if rates else None

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
    """Measures servers on one subject.

    Args:
        servers: those to measure, by name.
        subject: what they serve.
        pinning: where they and this process run.
        tell: called as each step begins.
    """

    def __init__(
        self, servers: dict[str, Server], subject: Subject, pinning: Pinning, tell: Tell
    ) -> None:
        self._servers, self._subject, self._pinning = servers, subject, pinning
        self._tell = tell
        self._expected: list[list[Probabilities]] = []
        self.results = Results()

    def steps(self, plan: Plan) -> int:
        """How often `load` will call `tell`."""
        each = 1 + len(plan.clients) + len(plan.loads)
        return 1 + plan.rounds * (1 + each * len(self._servers))

    async def load(self, plan: Plan) -> Results:
        """Closed and open loops, and the offline limit between them."""
        await self._look_up_expected()
        for number, name in alternating([OFFLINE, *self._servers], plan.rounds):
            if name == OFFLINE:
                self._tell(f"round {number + 1}: offline limit")
                self.results.offline.append((await self._offline(plan.seconds))["rates"])
                continue
            with self._noting_failure(name):
                await self._load_one(name, plan, number)
        return self.results

    async def burst(self, plan: Plan, *, quiet: int, size: int, margin: float) -> Results:
        """Quiet, then `size` at once, with `margin` times the time that the slowest needs for them.

        The deadline is `margin * size / capacity`, the capacity measured first and in a process of
        its own; it is also the SLO that servers are configured with.
        """
        await self._look_up_expected()
        capacities: dict[str, float] = {}
        for name, server in self._servers.items():
            self._tell(f"{name}: capacity")
            with self._noting_failure(name):
                async with self._asked(server, plan) as asked:
                    await asked.warm_up(seconds=plan.warm_up_seconds)
                    measured = await asked.closed(clients=16, seconds=plan.seconds)
                    capacities[name] = measured.summary.answered_rate
        self.results.capacities = capacities
        if not capacities:
            return self.results
        slowest = max(min(capacities.values()), 1.0)
        plan = replace(plan, slo_ms=math.ceil(1e3 * margin * size / slowest))
        self.results.deadline_ms = plan.slo_ms
        for number, name in alternating(list(capacities), plan.rounds):
            self._tell(f"round {number + 1}: {name}, {size} at once, {plan.slo_ms:.0f} ms")
            with self._noting_failure(name):
                async with self._asked(self._servers[name], plan) as asked:
                    measured = await asked.quiet_then_burst(quiet=quiet, burst=size)
                    self.results.add(name, "burst", size, measured)
        return self.results

    def burst_steps(self, plan: Plan) -> int:
        """How often `burst` will call `tell`."""
        return 1 + len(self._servers) * (1 + plan.rounds)

    async def _load_one(self, name: str, plan: Plan, number: int) -> None:
        self._tell(f"round {number + 1}: {name}, starting")
        async with self._asked(self._servers[name], plan) as asked:
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
                    seed=_SEED + number,
                )
                self.results.add(name, "open", percent, measured)

    @asynccontextmanager
    async def _asked(self, server: Server, plan: Plan) -> AsyncIterator[Session]:
        """A session whose answers were found to be the network's."""
        async with session(server, self._subject, self._pinning, slo_ms=plan.slo_ms) as asked:
            differences = [await asked.largest_difference(one) for one in self._expected]
            difference = min(differences)
            known = self.results.differences
            known[server.name] = max(known.get(server.name, 0.0), difference)
            if difference > plan.tolerance:
                raise Disagrees(f"a probability differs by {difference:.4f} from the network's own")
            yield asked

    @contextmanager
    def _noting_failure(self, name: str) -> Iterator[None]:
        """One server that fails must not cost the others their figures; the result names it."""
        try:
            yield
        except (NotStarted, Disagrees, BadResponse, OSError) as error:
            self.results.failures[name] = f"{type(error).__name__}: {error}"

    async def _look_up_expected(self) -> None:
        self._tell("the network's own answers")
        seen = (await self._offline(0))["probabilities"]
        self._expected = [seen["scaled"], seen["whole"]]

    async def _offline(self, seconds: float) -> dict[str, Any]:
        command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "load_tests.bench.offline"]
        command += ["--models-dir", str(self._subject.models_dir), "--model", self._subject.model]
        command += ["--images", str(self._subject.images_dir), "--seconds", str(seconds)]
        command += ["--cores", str(self._pinning.server_cores)]
        process = await asyncio.create_subprocess_exec(
            *self._pinning.command(command), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        try:
            printed, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise RuntimeError(f"the offline loop ended with {process.returncode}; see above")
        answer: dict[str, Any] = json.loads(printed)
        return answer
