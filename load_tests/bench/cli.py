"""The command: `python -m load_tests.bench`, from the development environment."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from load_tests.bench import report
from load_tests.bench.machine import describe, version_in
from load_tests.bench.plot import draw
from load_tests.bench.processes import Cores, Pinning
from load_tests.bench.runner import Plan, Results, Runner
from load_tests.bench.server import Server
from load_tests.bench.servers import ROOT, SERVERS
from load_tests.bench.subject import Subject, prepare

_LOAD_PEERS = "ours,ours-ungated,bentoml,litserve,mlserver,triton,fastapi"
_BURST_PEERS = "ours,bentoml-slo"

_err = Console(stderr=True)


class Scenario(StrEnum):
    """What is measured."""

    LOAD = "load"  # closed and open loops, offline limit
    BURST = "burst"  # quiet, then many at once


def bench(  # noqa: PLR0917 - typer reads options from parameters
    model: Annotated[str, typer.Option(help="package to serve")],
    out: Annotated[Path, typer.Option(help="JSON file; .md and .png are written beside it")],
    scenario: Annotated[Scenario, typer.Option(help="what to measure")] = Scenario.LOAD,
    peers: Annotated[str, typer.Option(help=f"of: {', '.join(SERVERS)}")] = "",
    cores: Annotated[
        Cores, typer.Option(help="one: server and load generator on a core each; all: not pinned")
    ] = Cores.ONE,
    seconds: Annotated[float, typer.Option(min=0.5, help="of one measurement")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="the median of them is quoted")] = 3,
    warm_up: Annotated[float, typer.Option(min=0.1, help="seconds of load before it")] = 3.0,
    clients: Annotated[str, typer.Option(help="closed loops")] = "1,4,16,64",
    loads: Annotated[str, typer.Option(help="open loops, % of capacity")] = "50,80,100,150,200",
    capacity: Annotated[
        float | None, typer.Option(help="images a second that loads are % of; default: its own")
    ] = None,
    slo_ms: Annotated[float, typer.Option(min=1, help="a later answer is no goodput")] = 500.0,
    graph: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="another ONNX file of it")
    ] = None,
    models_dir: Annotated[Path, typer.Option(help="where packages are")] = ROOT / "models",
    tolerance: Annotated[float, typer.Option(help="of a probability")] = 0.01,
    quiet: Annotated[int, typer.Option(min=1, help="burst: requests in turn before it")] = 80,
    burst: Annotated[int, typer.Option(min=1, help="burst: requests at once")] = 150,
    margin: Annotated[
        float, typer.Option(min=1, help="burst: deadline, as times what the slowest needs")
    ] = 1.5,
) -> None:
    """Measure this service, its peers and the offline limit in one run."""
    chosen = _servers(peers or (_LOAD_PEERS if scenario is Scenario.LOAD else _BURST_PEERS))
    plan = Plan(
        seconds=seconds,
        rounds=rounds,
        warm_up_seconds=warm_up,
        clients=_numbers(clients),
        loads=_numbers(loads),
        capacity=capacity,
        slo_ms=slo_ms,
        tolerance=tolerance,
    )
    try:
        pinning = Pinning.of(cores)
    except ValueError as error:
        _refuse(str(error))
    made = describe(ROOT) | {"cores_used": cores.value, "command": _command()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subject = prepare(model, models_dir=models_dir, folder=Path(folder), graph=graph)
        try:
            results = asyncio.run(
                _run(
                    chosen, subject, pinning, plan, scenario, quiet=quiet, size=burst, margin=margin
                )
            )
        except asyncio.CancelledError:
            _err.print("stopped; nothing was written")
            raise typer.Exit(128 + signal.SIGTERM) from None
    described = {
        name: {"version": version_in(one.python, one.distribution), "note": one.note}
        for name, one in chosen.items()
    }
    kept = report.as_json(results, made=made, subject=subject, plan=plan, servers=described)
    page = report.write(kept, results, out)
    if scenario is Scenario.LOAD and results.cells:
        title = f"{subject.model}, {subject.precision}, {made['processor']}, --cores {cores.value}"
        draw(results, title=title, slo_ms=slo_ms, out=out.with_suffix(".png"))
    print(page.read_text("utf-8"))
    if results.failures:
        for name, why in results.failures.items():
            _err.print(f"{name}: {why}", markup=False, highlight=False)
        raise typer.Exit(1)


async def _run(
    servers: dict[str, Server],
    subject: Subject,
    pinning: Pinning,
    plan: Plan,
    scenario: Scenario,
    *,
    quiet: int,
    size: int,
    margin: float,
) -> Results:
    task = asyncio.current_task()
    assert task is not None
    # Ended by a signal, it still ends its servers.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between measurements only: a thread that draws would compete with the load generator.
    with Progress(
        TextColumn("{task.description}"), *columns, console=_err, auto_refresh=False
    ) as progress:
        bar = progress.add_task("", total=None)

        def tell(step: str) -> None:
            progress.update(bar, description=step, advance=1, refresh=True)

        runner = Runner(servers, subject, pinning, tell)
        load = scenario is Scenario.LOAD
        progress.update(bar, total=runner.steps(plan) if load else runner.burst_steps(plan))
        with pinning.here():
            if load:
                return await runner.load(plan)
            return await runner.burst(plan, quiet=quiet, size=size, margin=margin)


def _servers(names: str) -> dict[str, Server]:
    chosen = {}
    for name in (part.strip() for part in names.split(",")):
        if name not in SERVERS:
            _refuse(f"no server is called {name!r}; there are: {', '.join(SERVERS)}")
        if not SERVERS[name].python.exists():
            _refuse(f"{name} is not installed: run `make install`, load_tests/peers/environments")
        chosen[name] = SERVERS[name]
    return chosen


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        _refuse(f"not a list of numbers: {text!r}")
    if any(number <= 0 for number in numbers):
        _refuse(f"all must be positive: {text!r}")
    return numbers


def _refuse(why: str) -> NoReturn:
    _err.print(why, markup=False)
    raise typer.Exit(2)


def _command() -> str:
    """As typed, without the folders of this machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "load_tests.bench", *words])


def main() -> None:
    """Entry point."""
    typer.run(bench)
