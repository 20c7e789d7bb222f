"""The command: `python -m load_tests.bench`, from the development environment."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from load_tests.bench import kept
from load_tests.bench.machine import describe
from load_tests.bench.plot import draw
from load_tests.bench.processes import Cores, Pinning
from load_tests.bench.scenarios import Measured, Scenario, Wanted, measured, plan_as_dict, steps
from load_tests.bench.server import ROOT, Server
from load_tests.bench.servers import SERVERS
from load_tests.bench.stand import Stand
from load_tests.bench.subject import Subject, prepare

_err = Console(stderr=True)


def bench(  # noqa: PLR0917 - typer reads options from parameters
    model: Annotated[str, typer.Option(help="package to serve")],
    out: Annotated[Path, typer.Option(help="JSON file; .md and .png are written beside it")],
    scenario: Annotated[Scenario, typer.Option(help="what to measure")] = Scenario.LOAD,
    peers: Annotated[
        str, typer.Option("--peers", "--server", help=f"of: {', '.join(SERVERS)}")
    ] = "",
    cores: Annotated[
        Cores, typer.Option(help="one: server and load generator on a core each; all: not pinned")
    ] = Cores.ONE,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.5, help="of one measurement; overload, agreement: 60, else 10"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="the median of them is quoted")] = 3,
    warm_up: Annotated[float, typer.Option(min=0.1, help="seconds of load before it")] = 3.0,
    clients: Annotated[str, typer.Option(help="closed loops")] = "1,4,16,64",
    loads: Annotated[
        str,
        typer.Option(help="% of capacity; load: 50,80,100,150,200; agreement: 60,80,95,120,200"),
    ] = "",
    load: Annotated[
        int | None, typer.Option(min=1, help="% of capacity; overload: 200, soak: 90")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.05, help="soak: its length")] = 30.0,
    capacity: Annotated[
        float | None, typer.Option(help="images a second that loads are % of; default: its own")
    ] = None,
    slo_ms: Annotated[float, typer.Option(min=1, help="a later answer is no goodput")] = 500.0,
    offline_gate: Annotated[
        bool, typer.Option("--offline-gate", help="load: the offline limit with the gate, too")
    ] = False,
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
    """Measure this service, its peers, the offline limit and the simulator."""
    chosen = _servers(peers or scenario.servers, scenario)
    wanted = Wanted(
        scenario=scenario,
        seconds=seconds or scenario.seconds,
        rounds=rounds,
        warm_up=warm_up,
        clients=_numbers(clients),
        loads=_numbers(loads) if loads else scenario.loads,
        load=load,
        minutes=minutes,
        capacity=capacity,
        slo_ms=slo_ms,
        tolerance=tolerance,
        offline_gate=offline_gate,
        quiet=quiet,
        burst=burst,
        margin=margin,
    )
    try:
        pinning = Pinning.of(cores)
    except ValueError as error:
        _refuse(str(error))
    made = describe(ROOT) | {"cores_used": cores.value, "command": _command()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subject = prepare(model, models_dir=models_dir, folder=Path(folder), graph=graph)
        try:
            stand, found = asyncio.run(_run(chosen, subject, pinning, wanted))
        except asyncio.CancelledError:
            _err.print("stopped; nothing was written")
            raise typer.Exit(128 + signal.SIGTERM) from None
    document = (
        kept.made_of(made, stand, chosen, plan_as_dict(wanted))
        | {"doubts": found.doubts}
        | found.figures
    )
    page = kept.write(document, found.lines, out, measured=found.how)
    if found.drawn is not None:
        title = f"{subject.model}, {subject.precision}, {made['processor']}, --cores {cores.value}"
        draw(found.drawn, title=title, slo_ms=slo_ms, out=out.with_suffix(".png"))
    print(page.read_text("utf-8"))
    if stand.failures:
        for name, why in stand.failures.items():
            _err.print(f"{name}: {why}", markup=False, highlight=False)
        raise typer.Exit(1)


async def _run(
    servers: dict[str, Server], subject: Subject, pinning: Pinning, wanted: Wanted
) -> tuple[Stand, Measured]:
    task = asyncio.current_task()
    assert task is not None
    # Ended by a signal, it still ends its servers.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between measurements only: a thread that draws would compete with the load generator.
    with Progress(
        TextColumn("{task.description}"), *columns, console=_err, auto_refresh=False
    ) as progress:
        tuned = sum(server.prepare is not None for server in servers.values())
        bar = progress.add_task("", total=steps(wanted, len(servers), tuned))

        def tell(step: str) -> None:
            progress.update(bar, description=step, advance=1, refresh=True)

        stand = Stand(subject, pinning, tell, tolerance=wanted.tolerance)
        with pinning.here():
            return stand, await measured(servers, stand, wanted)


def _servers(names: str, scenario: Scenario) -> dict[str, Server]:
    chosen = {}
    for name in (part.strip() for part in names.split(",")):
        if name not in SERVERS:
            _refuse(f"no server is called {name!r}; there are: {', '.join(SERVERS)}")
        if scenario.only_ours and not SERVERS[name].tells:
            ours = ", ".join(name for name, server in SERVERS.items() if server.tells)
            _refuse(f"{scenario.value} asks one of ours over HTTP, not {name}: {ours}")
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
