"""`cxrserve simulate autoscale`: the deployed autoscaler under a load, beside other signals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, NoReturn

import numpy as np
import typer
from rich.console import Console

from cxrserve.simulation.autoscaled import Fleet, Outcome, run
from cxrserve.simulation.autoscaling.autoscaler import Start
from cxrserve.simulation.autoscaling.manifests import Autoscaling, deployed, deployed_with_keda
from cxrserve.simulation.autoscaling.recommended import TARGET, recommended
from cxrserve.simulation.autoscaling.signals import SIGNALS
from cxrserve.simulation.device import hardware
from cxrserve.simulation.loads import Load, day, noise, ramp, spike
from cxrserve.simulation.world import Story

Scenario = Literal["spike", "ramp", "day", "noise"]

_out = Console()
_err = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Compared:
    """One autoscaler under one load, several times.

    Attributes:
        followed: what it looks at.
        base: load at the beginning, as a share of what the replicas can do.
        outcomes: by seed.
        story: of the first seed, to be drawn.
    """

    followed: str
    base: float
    outcomes: tuple[Outcome, ...]
    story: Story
    load: Load

    @property
    def worst(self) -> Outcome:
        """The run that kept least."""
        return min(self.outcomes, key=lambda one: one.in_time)


def register(app: typer.Typer) -> None:
    """Add `autoscale` to `cxrserve simulate`."""
    app.command("autoscale")(simulate_autoscale)


def simulate_autoscale(  # noqa: PLR0917 - typer's options
    scenario: Annotated[Scenario, typer.Option(help="how the load changes")] = "spike",
    factor: Annotated[float, typer.Option(min=1, help="of a spike or ramp")] = 5.0,
    base: Annotated[
        str, typer.Option(help="load before, as shares of what the first replicas can do")
    ] = "0.2,0.6",
    compare: Annotated[
        str,
        typer.Option(
            help="deployed (the HPA of --k8s), keda, or signals, each with @target or 0.6, joined "
            f"by +: {', '.join(SIGNALS)}"
        ),
    ] = "deployed,predicted,utilisation,cpu",
    table: Annotated[str, typer.Option(help="as of `cxrserve simulate`")] = "densenet121-cpu",
    slots: Annotated[int, typer.Option(min=1, help="cores of a replica; on a GPU: batches")] = 2,
    host_ms: Annotated[
        float | None, typer.Option(min=0, help="reading an image; default: the table's, or 0")
    ] = None,
    slo_s: Annotated[float, typer.Option(min=0.01, help="99 % are answered within")] = 5.0,
    deadline_s: Annotated[
        float | None,
        typer.Option(help="of each attempt, for clients that name none; default: --slo-s in all"),
    ] = None,
    start_s: Annotated[float, typer.Option(min=0, help="until a new pod is asked")] = 15.0,
    cpu_every_s: Annotated[
        float, typer.Option(min=10, help="between values of metrics-server")
    ] = 15.0,
    seeds: Annotated[int, typer.Option(min=1, help="runs; the worst is shown")] = 3,
    k8s: Annotated[Path, typer.Option(help="folder of the manifests")] = Path("k8s"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="draw; needs matplotlib")] = None,
) -> None:
    """Offer one load to the deployed autoscaler and to others; print a Markdown table."""
    try:
        host_s = None if host_ms is None else host_ms / 1e3
        machine = hardware(table, slots=slots, host_s=host_s)
        as_deployed = _deployed(k8s)
        bases = [float(part) for part in base.split(",")]
        scalers = {
            name: replace(_autoscaling(name, k8s, as_deployed), kubelet_s=cpu_every_s)
            for name in compare.split(",")
        }
    except ValueError as error:
        _fail(str(error))
    fleet = Fleet(
        hardware=machine,
        slo_s=slo_s,
        deadline_s=deadline_s,
        replicas=as_deployed.least,
        start=Start(pending_s=min(3.0, start_s), ready_s=start_s),
    )
    print(_HEAD)
    found = []
    for one in _compare(fleet, scalers, bases, scenario=scenario, factor=factor, seeds=seeds):
        found.append(one)
        print(_line(one, as_deployed.least), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps([_document(one) for one in found], indent=2) + "\n")
    if plot_file is not None:
        _plot(found, fleet, plot_file)


def _compare(
    fleet: Fleet,
    scalers: dict[str, Autoscaling],
    bases: list[float],
    *,
    scenario: Scenario,
    factor: float,
    seeds: int,
) -> Iterator[Compared]:
    for share in bases:
        for name, autoscaling in scalers.items():
            ran = []
            for seed in range(1, seeds + 1):
                load = load_of(scenario, share * fleet.capacity, factor, seed=seed)
                ran.append((load, *run(replace(fleet, autoscaling=autoscaling), load, seed=seed)))
            load, story, _ = ran[0]
            yield Compared(name, share, tuple(outcome for _, _, outcome in ran), story, load)


def load_of(scenario: Scenario, base: float, factor: float, *, seed: int) -> Load:
    """The load of this name, `base` images a second to begin with (or on average)."""
    if scenario == "spike":
        return spike(base, factor, before_s=90.0, lasts_s=180.0, after_s=30.0)
    if scenario == "ramp":
        return ramp(base, factor)
    if scenario == "day":
        return day(base, swing=(factor - 1) / (factor + 1))
    return noise(base, rng=np.random.default_rng(seed))


def _deployed(k8s: Path) -> Autoscaling:
    return deployed(k8s) if k8s.is_dir() else recommended()


def _autoscaling(name: str, k8s: Path, as_deployed: Autoscaling) -> Autoscaling:
    if name == "deployed":
        return as_deployed
    if name == "keda":
        return deployed_with_keda(k8s)
    metrics = []
    for part in name.split("+"):
        signal, _, target = part.partition("@")
        if signal not in SIGNALS:
            raise ValueError(f"no signal {signal}: deployed, keda, or of {', '.join(SIGNALS)}")
        metrics.append(SIGNALS[signal](float(target or TARGET)))
    return as_deployed.following(*metrics)


_HEAD = (
    "| load before | followed | in time | worst minute | stat | p99 s | last refusal s | "
    "replicas | cost | SLO |\n|---:|---|---:|---:|---:|---:|---:|---|---:|---|"
)


def _line(one: Compared, least: int) -> str:
    worst = one.worst
    cost = median(outcome.replica_hours / outcome.ideal_hours for outcome in one.outcomes)
    return (
        f"| {one.base:g} | {one.followed} | {worst.in_time:.1%} | {worst.worst_minute:.0%} | "
        f"{worst.stat_in_time:.1%} | {worst.p99_ms / 1e3:.1f} | {worst.refused_until_s:.0f} | "
        f"{least} → {worst.most_replicas} | {cost:.1f}× | "
        f"{'kept' if worst.kept else 'missed'} |"
    )


def _document(one: Compared) -> dict[str, object]:
    return {
        "base": one.base,
        "followed": one.followed,
        "replicas": one.story.replicas,
        "outcomes": [outcome.as_dict() for outcome in one.outcomes],
    }


def _plot(found: list[Compared], fleet: Fleet, file: Path) -> None:
    from cxrserve.simulation.autoscale_figures import draw  # noqa: PLC0415 - only a plot needs it

    try:
        draw(found, fleet, file)
    except ImportError:
        _fail("a plot needs matplotlib: pip install matplotlib")


def _fail(message: str) -> NoReturn:
    _err.print(message, soft_wrap=True, markup=False)
    raise typer.Exit(2)
