"""The command: `python -m load_tests.callers`, from the development environment."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cxrserve.errors import CxrError
from load_tests.bench.machine import describe
from load_tests.bench.processes import NotStarted
from load_tests.callers import figures
from load_tests.callers.conduct import Conducted, Wanted, conduct, unknown_callers
from load_tests.callers.kinds import KINDS
from load_tests.callers.locust_run import ROOT, NotInstalled
from load_tests.callers.plots import draw
from load_tests.callers.prepare import Unfit
from load_tests.callers.shape import SHAPES, read_shape

FAILED = 1
"""Exit status: something did not hold, and was named. (2: nothing was measured.)"""


def callers(  # noqa: PLR0917 - typer reads options from parameters
    shape: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(sorted(one.stem for one in SHAPES.glob('*.yaml')))}, or a YAML file"
        ),
    ] = "steady",
    host: Annotated[
        str, typer.Option(help="http://… of a running service; several: by commas; else started")
    ] = "",
    grpc: Annotated[str, typer.Option(help="host:port of its gRPC; several: by commas")] = "",
    callers: Annotated[str, typer.Option(help="kinds that take part")] = ",".join(KINDS),
    seconds: Annotated[
        float | None, typer.Option(min=1, help="length, instead of the shape's")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="films a second at the shape's level 1")
    ] = None,
    capacity: Annotated[
        float | None, typer.Option(min=0.1, help="films a second it can do; default: measured")
    ] = None,
    retry_s: Annotated[
        float, typer.Option("--retry-s", min=0, help="s in which all callers ask again")
    ] = 0.0,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="real films, in originals/ and dicom/"),
    ] = None,
    films: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="films that an earlier run prepared"),
    ] = None,
    side: Annotated[int, typer.Option(min=256, help="of the largest DICOM image, pixels")] = 2048,
    phantoms: Annotated[int, typer.Option(min=1, help="chests that are drawn")] = 6,
    seed: Annotated[int, typer.Option(help="of all arrivals and choices")] = 0,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="folder; default: runs/callers/SHAPE")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(file_okay=False, help="folder for SHAPE.json and .png, to keep")
    ] = None,
) -> None:
    """Ask a service as its callers do; fail where it fails them."""
    names = tuple(one.strip() for one in callers.split(",") if one.strip())
    if unknown := unknown_callers(names):
        _refuse(f"no caller is called {unknown[0]!r}; there are: {', '.join(KINDS)}")
    if host and not grpc and {KINDS[name].protocol for name in names} - {"http"}:
        _refuse("some of these callers speak gRPC: give --grpc HOST:PORT, or other --callers")
    try:
        wanted = Wanted(
            shape=read_shape(shape, seconds=seconds),
            host=host,
            grpc=grpc,
            callers=names,
            rate=rate,
            capacity=capacity,
            films=films,
            real=data,
            side=side,
            phantoms=phantoms,
            retry_s=retry_s,
            seed=seed,
            folder=(out or ROOT / "runs" / "callers" / Path(shape).stem).resolve(),
        )
        made = describe(ROOT) | {"command": _command()}
        found = asyncio.run(_conduct(wanted))
    except asyncio.CancelledError:
        _tell("stopped; nothing was judged")
        raise typer.Exit(128 + signal.SIGTERM) from None
    except (ValueError, NotStarted, NotInstalled, Unfit, CxrError, OSError) as error:
        _refuse(str(error) or type(error).__name__)
    kept = results or wanted.folder
    _write(wanted, found, made, kept)
    print(
        f"report, log and events: {wanted.folder}; figures: {kept}/{wanted.shape.name}.json, .png"
    )
    if not found.passed:
        raise typer.Exit(FAILED)


async def _conduct(wanted: Wanted) -> Conducted:
    task = asyncio.current_task()
    assert task is not None
    # Ended by a signal, it still ends Locust and the service.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await conduct(wanted, _tell)


def _write(wanted: Wanted, found: Conducted, made: dict[str, object], folder: Path) -> None:
    groups = figures.by_group(found.events)
    document: dict[str, Any] = {
        "made": made,
        "shape": {
            "name": wanted.shape.name,
            "about": wanted.shape.about,
            "seconds": wanted.shape.seconds,
            "levels": wanted.shape.levels,
        },
        "callers": wanted.callers,
        "retry_s": wanted.retry_s,
        "capacity": _rounded(found.capacity),
        "rate_at_level_1": _rounded(found.rate),
        "passed": found.passed,
        "verdicts": [verdict.as_dict() for verdict in found.verdicts],
        "figures": groups,
        "usage": None if found.usage is None else found.usage.as_dict(),
        "memory": None if found.memory is None else found.memory.as_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    name = wanted.shape.name
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    draw(
        found.events,
        title=f"{name}: {wanted.shape.about}\n{made['processor']}, {made['cores']} cores, "
        f"{str(made['date'])[:10]}",
        begin=found.begin,
        seconds=wanted.shape.seconds,
        capacity=found.capacity,
        out=folder / f"{name}.png",
    )
    for line in (*figures.table(groups), "", *(verdict.line() for verdict in found.verdicts)):
        print(line)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _tell(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


def _refuse(why: str) -> NoReturn:
    _tell(why)
    raise typer.Exit(2)


def _command() -> str:
    """As typed, without the folders of this machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "load_tests.callers", *words])


def main() -> None:
    """Entry point."""
    typer.run(callers)
