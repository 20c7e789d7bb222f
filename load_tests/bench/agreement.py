"""The simulator against the real server, under the same arrivals."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cxrserve.batching.line import Waiting
from cxrserve.simulation import world
from cxrserve.simulation.device import Hardware
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.world import Story, World
from load_tests.bench import load
from load_tests.bench.arrivals import poisson
from load_tests.bench.machine import Usage, UsageMeter
from load_tests.bench.measures import Fate, percentile
from load_tests.bench.overload import capacity_of
from load_tests.bench.own_times import Idle, idle_of, learning, mean_table
from load_tests.bench.runner import SEED
from load_tests.bench.server import Server, Terms
from load_tests.bench.session import Session
from load_tests.bench.stand import Stand

ENOUGH = 0.10
"""Relative difference in goodput up to which the simulator is said to agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementPlan:
    """What is compared.

    Attributes:
        seconds: of each load.
        warm_up_seconds: load before all that is not counted.
        loads: arrivals, in % of capacity.
        capacity: images a second; None: measured first, by 16 clients.
        slo_ms: every request's deadline; a later answer is no goodput.
    """

    seconds: float
    warm_up_seconds: float
    loads: tuple[int, ...]
    capacity: float | None
    slo_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One load, as it went or as it was simulated; latencies in ms, of the answers."""

    goodput_rate: float
    answered: int
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, latencies_s: Iterable[float], *, seconds: float, slo_ms: float) -> Figures:
        """From the latencies of all answers."""
        took_ms = [latency * 1e3 for latency in latencies_s]
        return cls(
            sum(one <= slo_ms for one in took_ms) / seconds,
            len(took_ms),
            statistics.fmean(took_ms) if took_ms else None,
            percentile(took_ms, 50),
            percentile(took_ms, 99),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """The same arrivals, twice; and what the simulator was told."""

    load: int
    offered_rate: float
    real: Figures
    simulated: Figures
    table: dict[str, list[float]]
    host_s: float
    usage: Usage

    def differences(self) -> dict[str, float | None]:
        """Simulated over real, less 1, figure by figure."""
        found: dict[str, float | None] = {}
        for name in ("goodput_rate", "mean_ms", "p50_ms", "p99_ms"):
            real, simulated = getattr(self.real, name), getattr(self.simulated, name)
            found[name] = simulated / real - 1 if real and simulated is not None else None
        return found


@dataclass(slots=True, kw_only=True)
class Agreement:
    """All loads of one server."""

    server: str
    capacity: float
    cores: int
    idle: Idle
    pairs: list[Pair] = field(default_factory=list)

    @property
    def largest_of_goodput(self) -> float:
        """The largest relative difference in goodput, either way."""
        seen = [one.differences()["goodput_rate"] for one in self.pairs]
        return max((abs(one) for one in seen if one is not None), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """The figures, for the result file."""
        return {
            "server": self.server,
            "capacity": round(self.capacity, 2),
            "cores": self.cores,
            "idle": asdict(self.idle),
            "largest_difference_in_goodput": self.largest_of_goodput,
            "loads": [
                {
                    "load": one.load,
                    "offered_rate": one.offered_rate,
                    "real": asdict(one.real),
                    "simulated": asdict(one.simulated),
                    "differences": one.differences(),
                    "table": one.table,
                    "host_s": one.host_s,
                    "usage": one.usage.as_dict(),
                }
                for one in self.pairs
            ],
        }


async def agreement(server: Server, stand: Stand, plan: AgreementPlan) -> Agreement:
    """Each load, on the server and then in the simulator.

    Raises:
        NotStarted, Disagrees, BadResponse, OSError: as of any session.
    """
    stand.tell(f"{server.name}: starting")
    async with stand.asked(server, slo_ms=plan.slo_ms) as asked:
        stand.tell(f"{server.name}: capacity")
        capacity = await capacity_of(
            asked,
            known=plan.capacity,
            warm_up_seconds=plan.warm_up_seconds,
            seconds=plan.seconds,
        )
        await asked.settle()
        idle = await idle_of(asked)
        found = Agreement(server=server.name, capacity=capacity, cores=stand.cores, idle=idle)
        for percent in plan.loads:
            rate = capacity * percent / 100
            stand.tell(f"{server.name}: {percent} % of {capacity:.1f}/s")
            schedule = poisson(rate=rate, seconds=plan.seconds, seed=SEED + percent)
            meter = UsageMeter(asked.process)
            async with learning(asked) as tables:
                latencies_s = await _really(asked, schedule)
            usage, table = meter.read(), mean_table(tables)
            await asked.settle()
            # What slows batches under load, slows reading as much.
            host_s = idle.host_s * table.seconds(1) / idle.batch_s
            story = simulated(
                schedule,
                slo_s=plan.slo_ms / 1e3,
                machine=Hardware(
                    name=server.name,
                    table=table,
                    slots=stand.cores,
                    independent=True,
                    noise=idle.noise,
                    host_s=host_s,
                ),
            )
            as_simulated = latencies_of(story, around_s=idle.outside_s + idle.inside_s)
            over = {"seconds": plan.seconds, "slo_ms": plan.slo_ms}
            found.pairs.append(
                Pair(
                    percent,
                    len(schedule) / plan.seconds,
                    Figures.of(latencies_s, **over),
                    Figures.of(as_simulated, **over),
                    table.as_dict(),
                    host_s,
                    usage,
                )
            )
    return found


def simulated(schedule: Sequence[float], *, slo_s: float, machine: Hardware) -> Story:
    """What the simulator says of these arrivals: one client, all routine, nobody comes back."""
    requests = [
        Waiting(number=number, arrived=due, deadline=due + slo_s, client="127.0.0.1")
        for number, due in enumerate(schedule)
    ]
    made = World(
        lambda: Ours(machine.table, host_s=machine.host_s, promising=True), machine, seed=SEED
    )
    return made.run(requests)


def latencies_of(story: Story, *, around_s: float) -> list[float]:
    """Latency in seconds of each answer; who is late gets none, as in the service.

    Args:
        story: of the simulator.
        around_s: what the simulator knows nothing of, added to each.
    """
    return [
        one.at - one.request.arrived + around_s
        for one in story.endings
        if one.fate is world.Fate.ANSWERED and one.in_time
    ]


async def _really(asked: Session, schedule: Sequence[float]) -> list[float]:
    images, terms = asked.subject.images, Terms(deadline_ms=asked.slo_ms)
    requests = [asked.request(image, terms) for image in images]
    outcomes = await load.open_loop(asked.client, requests, schedule)
    return [one.latency_s for one in outcomes if one.fate is Fate.ANSWERED]
