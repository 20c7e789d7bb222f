"""`cxrserve simulate`: the batching rules under a virtual clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from cxrserve.batching.line import Priority, Waiting
from cxrserve.simulation import autoscale_commands
from cxrserve.simulation.arrivals import Crowd, bursty, quiet_then_burst, recorded
from cxrserve.simulation.autoscaling.autoscaler import Autoscaler, Start
from cxrserve.simulation.autoscaling.manifests import Autoscaling
from cxrserve.simulation.autoscaling.signals import SIGNALS
from cxrserve.simulation.device import TABLES, Hardware, hardware, measured
from cxrserve.simulation.figures import figures, plot, table
from cxrserve.simulation.grid import ENOUGH, Cell, default_slo_s, dispatchers, grid
from cxrserve.simulation.oracle import upper_bound
from cxrserve.simulation.replicas import BALANCERS
from cxrserve.simulation.world import Story, World

simulate_app = typer.Typer(
    invoke_without_command=True,
    help="Try the batching rules on a virtual clock: no model, no server, the same figures again.",
)
_out = Console()
_err = Console(stderr=True)


def register(app: typer.Typer) -> None:
    """Add `simulate` to `cxrserve`."""
    autoscale_commands.register(simulate_app)
    app.add_typer(simulate_app, name="simulate")


@simulate_app.callback()
def simulate(  # noqa: PLR0917 - typer's options
    context: typer.Context,
    device: Annotated[
        str,
        typer.Option(
            "--table", help=f"{', '.join((*TABLES, *measured()))}, or a JSON file: sizes, seconds"
        ),
    ] = "gpu-affine",
    slots: Annotated[int, typer.Option(min=1, help="batches in flight")] = 2,
    load: Annotated[float, typer.Option(min=0.01, help="share of what the devices can run")] = 1.0,
    cv: Annotated[float, typer.Option(min=0.05, help="burstiness; 1 is Poisson")] = 1.0,
    count: Annotated[int, typer.Option(min=2, help="requests")] = 3000,
    arrivals: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="recorded: seconds, one a line"),
    ] = None,
    quiet: Annotated[int, typer.Option(min=0, help="quiet requests before --burst")] = 80,
    burst: Annotated[int, typer.Option(min=0, help="this many at once, after --quiet")] = 0,
    slo_ms: Annotated[
        str, typer.Option(help="time to answer: one, or stat,urgent,routine; default 5 batches")
    ] = "",
    mix: Annotated[str, typer.Option(help="shares of stat,urgent,routine")] = "0.1,0.2,0.7",
    clients: Annotated[int, typer.Option(min=1, help="how many ask")] = 8,
    noise: Annotated[float, typer.Option(min=0.0, help="of a batch's time, as a share")] = 0.05,
    host_ms: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="decoding, on the slots of a CPU or beside; default: the table's, or 0",
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="behind the balancer")] = 1,
    balancer: Annotated[str, typer.Option(help=", ".join(BALANCERS))] = "round-robin",
    autoscale: Annotated[
        Literal["no", "predicted", "utilisation", "wait", "waiting", "cpu"],
        typer.Option(help="what an HPA of Kubernetes' defaults looks at"),
    ] = "no",
    target: Annotated[float, typer.Option(min=0.01, help="of --autoscale, per replica")] = 0.7,
    most_replicas: Annotated[int, typer.Option(min=1, help="of --autoscale")] = 10,
    start_s: Annotated[float, typer.Option(min=0.0, help="until a new replica is ready")] = 30.0,
    seed: Annotated[int, typer.Option(help="of arrivals and of times")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="draw; needs matplotlib")] = None,
) -> None:
    """Offer one load to every rule."""
    if context.invoked_subcommand is not None:
        return
    if balancer not in BALANCERS:
        _fail(f"no balancer {balancer}: one of {', '.join(BALANCERS)}")
    rng = np.random.default_rng(seed)
    try:
        host_s = None if host_ms is None else host_ms / 1e3
        machine = hardware(device, slots=slots, noise=noise, host_s=host_s)
        crowd = _crowd(slo_ms, mix, clients, machine)
        if arrivals is not None:
            times = recorded(arrivals)
        elif burst:
            times = quiet_then_burst(quiet=quiet, gap_s=4 * machine.table.seconds(1), burst=burst)
        else:
            times = bursty(load * machine.rate() * replicas, count, cv, rng)
    except ValueError as error:
        _fail(str(error))
    requests = crowd.arriving(times, rng)
    slo_s = max(crowd.slo_s.values())
    most = replicas if autoscale == "no" else most_replicas
    bound = upper_bound(requests, machine, replicas=most)
    stories = []
    for name, make in dispatchers(machine, slo_s).items():
        scaler = None
        if autoscale != "no":
            metric = SIGNALS[autoscale](target)
            scaler = Autoscaler(
                Autoscaling(least=replicas, most=most, metrics=(metric,)),
                start=Start(ready_s=start_s),
                current=replicas,
                rng=np.random.default_rng(seed),
            )
        world = World(
            make, machine, seed=seed, replicas=replicas,
            balancer=BALANCERS[balancer], autoscaler=scaler, slo_s=slo_s,
        )  # fmt: skip
        stories.append((name, world.run(requests)))
    rows = [figures(name, story, bound) for name, story in stories]
    _out.print(table(rows, _title(machine, requests, bound)))
    if json_file is not None:
        document = {"bound": bound, "dispatchers": [row.as_dict() for row in rows]}
        json_file.write_text(json.dumps(document, indent=2) + "\n")
    if plot_file is not None:
        _plot(stories, plot_file)


@simulate_app.command("grid")
def simulate_grid(
    spans: Annotated[float, typer.Option(min=1, help="length of a run, in deadlines")] = 20.0,
    noise: Annotated[float, typer.Option(min=0.0, help="of a batch's time, as a share")] = 0.05,
    slo_factor: Annotated[float, typer.Option(min=0.2, help="times 5 batches")] = 1.0,
    seed: Annotated[int, typer.Option(help="of arrivals and of times")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures")] = None,
) -> None:
    """Offer loads on all tables to every rule; print where ours is not good enough."""
    cells = []
    with _err.status("simulating") as status:
        for cell in grid(spans=spans, seed=seed, noise=noise, slo_factor=slo_factor):
            cells.append(cell)
            status.update(f"{cell.table}, load {cell.load}, cv {cell.cv}")
    _out.print(_grid_table(cells))
    least = min(cell.ours.of_bound for cell in cells)
    _out.print(f"{len(cells)} cells; least share of the bound: {least:.1%}")
    for cell in cells:
        for complaint in cell.complaints():
            _out.print(f"{cell.table}, load {cell.load}, cv {cell.cv:g}: {complaint}")
    if json_file is not None:
        json_file.write_text(json.dumps([_document(cell) for cell in cells], indent=2) + "\n")


def _plot(stories: list[tuple[str, Story]], file: Path) -> None:
    try:
        plot(stories, file)
    except ImportError:
        _fail("a plot needs matplotlib: pip install matplotlib")


def _crowd(slo_ms: str, mix: str, clients: int, machine: Hardware) -> Crowd:
    slo_s = [float(part) / 1e3 for part in slo_ms.split(",")] if slo_ms else []
    slo_s = slo_s or [default_slo_s(machine)]
    if len(slo_s) == 1:
        slo_s *= len(Priority)
    shares = [float(part) for part in mix.split(",")]
    if len(slo_s) != len(Priority) or len(shares) != len(Priority) or sum(shares) <= 0:
        raise ValueError("--mix and --slo-ms take three numbers: stat,urgent,routine")
    return Crowd(
        slo_s=dict(zip(Priority, slo_s, strict=True)),
        shares=dict(zip(Priority, shares, strict=True)),
        clients=clients,
    )


def _title(machine: Hardware, requests: list[Waiting], bound: int) -> str:
    return (
        f"{machine.name}: {len(requests)} requests, {machine.rate():.0f} images/s at most; "
        f"nobody could answer more than {bound} in time"
    )


def _grid_table(cells: list[Cell]) -> Table:
    names = [row.dispatcher for row in cells[0].rows]
    shown = Table("table", "load", "cv", *names, title="answers in time, as a share of the bound")
    for cell in cells:
        shares = [f"{row.of_bound:.1%}" for row in cell.rows]
        shown.add_row(cell.table, f"{cell.load:g}", f"{cell.cv:g}", *shares)
    shown.caption = f"enough is {ENOUGH:.0%}"
    return shown


def _document(cell: Cell) -> dict[str, object]:
    return {
        "table": cell.table,
        "load": cell.load,
        "cv": cell.cv,
        "bound": cell.bound,
        "dispatchers": [row.as_dict() for row in cell.rows],
    }


def _fail(message: str) -> NoReturn:
    _err.print(message)
    raise typer.Exit(2)
