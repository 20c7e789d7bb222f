"""What can be measured, and how each scenario is run and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from load_tests.bench import report
from load_tests.bench.agreement import Agreement, AgreementPlan, agreement
from load_tests.bench.kept import machine_doubts
from load_tests.bench.machine import Usage
from load_tests.bench.overload import Overload, OverloadPlan, overload
from load_tests.bench.runner import Plan, Results, Runner
from load_tests.bench.scenario_tables import agreement_table, overload_table, soak_tables
from load_tests.bench.server import Server
from load_tests.bench.soak import Soak, SoakPlan, soak
from load_tests.bench.stand import Stand


class Scenario(StrEnum):
    """What is measured."""

    LOAD = "load"  # closed and open loops, offline limit
    BURST = "burst"  # quiet, then many at once
    OVERLOAD = "overload"  # twice capacity; who is refused comes back
    SOAK = "soak"  # half an hour
    AGREEMENT = "agreement"  # the simulator against the server

    @property
    def servers(self) -> str:
        """Those measured unless others are named."""
        return {
            Scenario.LOAD: "ours,ours-ungated,bentoml,litserve,mlserver,triton,fastapi",
            Scenario.BURST: "ours,bentoml-slo",
            Scenario.OVERLOAD: "ours",
            Scenario.SOAK: "ours",
            Scenario.AGREEMENT: "ours-ungated",
        }[self]

    @property
    def seconds(self) -> float:
        """Length of one measurement unless another is named."""
        return 10.0 if self in (Scenario.LOAD, Scenario.BURST) else 60.0

    @property
    def loads(self) -> tuple[int, ...]:
        """% of capacity unless others are named."""
        return (60, 80, 95, 120, 200) if self is Scenario.AGREEMENT else (50, 80, 100, 150, 200)

    @property
    def only_ours(self) -> bool:
        """Peers know nothing of what it needs: deadlines, ids, timings."""
        return self not in (Scenario.LOAD, Scenario.BURST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for: see the command's options of the same names."""

    scenario: Scenario
    seconds: float
    rounds: int
    warm_up: float
    clients: tuple[int, ...]
    loads: tuple[int, ...]
    load: int | None
    minutes: float
    capacity: float | None
    slo_ms: float
    tolerance: float
    offline_gate: bool
    quiet: int
    burst: int
    margin: float

    def plan(self) -> Plan | OverloadPlan | SoakPlan | AgreementPlan:
        """What of it this scenario takes."""
        if self.scenario is Scenario.OVERLOAD:
            return OverloadPlan(
                seconds=self.seconds,
                warm_up_seconds=self.warm_up,
                load=self.load or 200,
                capacity=self.capacity,
                slo_ms=self.slo_ms,
            )
        if self.scenario is Scenario.SOAK:
            return SoakPlan(
                seconds=60 * self.minutes,
                warm_up_seconds=self.warm_up,
                load=self.load or 90,
                capacity=self.capacity,
                slo_ms=self.slo_ms,
                tolerance=self.tolerance,
            )
        if self.scenario is Scenario.AGREEMENT:
            return AgreementPlan(
                seconds=self.seconds,
                warm_up_seconds=self.warm_up,
                loads=self.loads,
                capacity=self.capacity,
                slo_ms=self.slo_ms,
            )
        return Plan(
            seconds=self.seconds,
            rounds=self.rounds,
            warm_up_seconds=self.warm_up,
            clients=self.clients,
            loads=self.loads,
            capacity=self.capacity,
            slo_ms=self.slo_ms,
            offline_gate=self.offline_gate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of a scenario.

    Attributes:
        figures: for the result file.
        lines: its tables.
        doubts: why the figures may not be the servers' own.
        how: for the line above the tables.
        drawn: what there is to draw, of the scenario `load`.
    """

    figures: dict[str, Any]
    lines: list[str]
    doubts: list[str]
    how: str
    drawn: Results | None = None


async def measured(servers: Mapping[str, Server], stand: Stand, wanted: Wanted) -> Measured:
    """Run a scenario on these servers; what fails is noted by the stand."""
    plan = wanted.plan()
    if isinstance(plan, Plan):
        return await _in_rounds(dict(servers), stand, wanted, plan)
    how = f"SLO {plan.slo_ms:g} ms"
    found: list[Overload | Soak | Agreement] = []
    for name, server in servers.items():
        with stand.noting_failure(name):
            if isinstance(plan, OverloadPlan):
                found.append(await overload(server, stand, plan))
            elif isinstance(plan, SoakPlan):
                found.append(await soak(server, stand, plan))
            else:
                found.append(await agreement(server, stand, plan))
    return Measured(
        figures={wanted.scenario.value: [one.as_dict() for one in found]},
        lines=[line for one in found for line in _table(one)],
        doubts=_failures(stand)
        + machine_doubts(usage for one in found for usage in _usages(one))
        + [doubt for one in found if isinstance(one, Soak) for doubt in _soak_doubts(one)],
        how=how,
    )


async def _in_rounds(
    servers: dict[str, Server], stand: Stand, wanted: Wanted, plan: Plan
) -> Measured:
    runner = Runner(servers, stand)
    if wanted.scenario is Scenario.LOAD:
        results = await runner.load(plan)
    else:
        results = await runner.burst(
            plan, quiet=wanted.quiet, size=wanted.burst, margin=wanted.margin
        )
    gated = frozenset(name for name, server in servers.items() if server.gated)
    return Measured(
        figures=report.as_dict(results),
        lines=report.tables(results, gated=gated),
        doubts=_failures(stand) + report.doubts(results),
        how=f"median of {plan.rounds} rounds of {plan.seconds:g} s, SLO {plan.slo_ms:g} ms",
        drawn=results if wanted.scenario is Scenario.LOAD and results.cells else None,
    )


def steps(wanted: Wanted, servers: int, tuned: int) -> int:
    """How often a stand will tell of a step, about."""
    each: Callable[[], int] = {
        Scenario.LOAD: lambda: (
            wanted.rounds
            * (1 + wanted.offline_gate + servers * (1 + len(wanted.clients) + len(wanted.loads)))
        ),
        Scenario.BURST: lambda: servers * (1 + wanted.rounds),
        Scenario.OVERLOAD: lambda: 5 * servers,
        Scenario.SOAK: lambda: 3 * servers,
        Scenario.AGREEMENT: lambda: (2 + len(wanted.loads)) * servers,
    }[wanted.scenario]
    return 1 + tuned + each()


def plan_as_dict(wanted: Wanted) -> dict[str, object]:
    """For the result file."""
    return {"scenario": wanted.scenario.value, "tolerance": wanted.tolerance} | asdict(
        wanted.plan()
    )


def _table(one: Overload | Soak | Agreement) -> list[str]:
    if isinstance(one, Overload):
        return overload_table(one)
    return soak_tables(one) if isinstance(one, Soak) else agreement_table(one)


def _usages(one: Overload | Soak | Agreement) -> list[Usage]:
    if isinstance(one, Overload):
        return one.usages
    if isinstance(one, Soak):
        return [one.usage] if one.usage else []
    return [pair.usage for pair in one.pairs]


def _failures(stand: Stand) -> list[str]:
    return [f"{name}: {why.splitlines()[0]}" for name, why in stand.failures.items()]


def _soak_doubts(one: Soak) -> list[str]:
    apart, spread = one.marker.distinguishable, one.marker.spread
    if apart > 2 * spread:
        return []
    return [
        f"two images' answers differ by {apart:.4f} only, answers of one image by {spread:.4f}: "
        "some mix-ups would not be seen"
    ]
