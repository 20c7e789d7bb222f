"""`cxrserve capacity`: what a load needs, from measured tables, through the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.capacity.asking import Asked, mix_of, rate_of, time_of
from cxrserve.capacity.demand import REQUESTS, Impossible
from cxrserve.capacity.hardware_file import HardwareError, read_hardware, shipped
from cxrserve.capacity.plan import plan
from cxrserve.capacity.report import show
from cxrserve.simulation.replicas import BALANCERS

_out = Console()
_err = Console(stderr=True)


def register(app: typer.Typer) -> None:
    """Add `capacity` to `cxrserve`."""
    app.command()(capacity)


def capacity(  # noqa: PLR0917 - typer's options
    rate: Annotated[str, typer.Option(help="images on average: 200/s, 12000/min, 1e6/h")],
    slo: Annotated[str, typer.Option(help="99 % are answered within: 300ms, 5s")],
    hardware: Annotated[
        str, typer.Option(help=f"YAML file, or a shipped one: {shipped()}")
    ] = "cpu-2-cores",
    model: Annotated[str, typer.Option(help="of the file; default: its first")] = "",
    image: Annotated[str, typer.Option(help="what is sent, of the file; default: its first")] = "",
    mix: Annotated[str, typer.Option(help="shares of stat,urgent,routine")] = "0.1,0.2,0.7",
    peak_factor: Annotated[
        float, typer.Option(min=1, max=20, help="the busiest over the average")
    ] = 3.0,
    rise: Annotated[str, typer.Option(help="in which the peak comes: 0s is at once")] = "0s",
    zones: Annotated[
        int, typer.Option(min=1, help="more than one: the loss of one is survived on average")
    ] = 1,
    balancer: Annotated[str, typer.Option(help=", ".join(BALANCERS))] = "random",
    autoscaler: Annotated[
        bool, typer.Option(help="find its target; else the peak is provided for at all times")
    ] = True,
    requests: Annotated[
        int, typer.Option(min=1000, help="simulated in each trial of a fixed number")
    ] = REQUESTS,
    seed: Annotated[int, typer.Option(help="of arrivals and of times")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the plan")] = None,
) -> None:
    """Say how many replicas a load needs, what it costs, and show that one fewer would not do.

    Exits with 1 where nothing does.
    """
    try:
        if balancer not in BALANCERS:
            raise ValueError(f"no balancer {balancer}: one of {', '.join(BALANCERS)}")
        if time_of(slo) <= 0:
            raise ValueError("--slo must be above zero")
        asked = Asked(
            rate=rate_of(rate), slo_s=time_of(slo), peak_factor=peak_factor, shares=mix_of(mix),
            rise_s=time_of(rise), zones=zones, balancer=balancer,
        )  # fmt: skip
        file = read_hardware(hardware)
        with _err.status("simulating") as status:
            found = plan(
                asked,
                file,
                model=model or next(iter(file.models)),
                image=image or next(iter(file.images)),
                seed=seed,
                requests=requests,
                with_autoscaler=autoscaler,
                tell=lambda what: status.update(f"simulating: {what}"),
            )
    except Impossible as error:
        _err.print(str(error), soft_wrap=True)
        raise typer.Exit(1) from None
    except (HardwareError, ValueError) as error:
        _err.print(str(error), soft_wrap=True, markup=False)
        raise typer.Exit(2) from None
    show(found, _out)
    if json_file is not None:
        json_file.write_text(json.dumps(found.as_dict(), indent=2) + "\n")
