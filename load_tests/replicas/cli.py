"""The command: `python -m load_tests.replicas`, from the development environment."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from load_tests.bench.machine import describe
from load_tests.callers.kinds import KINDS
from load_tests.peers.debian import program
from load_tests.replicas import kept
from load_tests.replicas.conduct import Wanted, conducted
from load_tests.replicas.haproxy import NOT_HERE
from load_tests.replicas.kubernetes import replacement
from load_tests.replicas.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
_err = Console(stderr=True)


def replicas(  # noqa: PLR0917 - typer reads options from parameters
    scenario: Annotated[str, typer.Option(help=f"all, or of: {', '.join(SCENARIOS)}")] = "all",
    out: Annotated[Path, typer.Option(help="folder for replicas.json and the pictures")] = (
        ROOT / "load_tests" / "results" / "replicas"
    ),
    load: Annotated[float, typer.Option(min=1, help="% of the measured capacity")] = 70,
    rate: Annotated[
        float | None, typer.Option(help="films a second, instead of measuring the capacity")
    ] = None,
    callers: Annotated[str, typer.Option(help=f"of: {', '.join(KINDS)}")] = ",".join(KINDS),
    retry_s: Annotated[float, typer.Option(help="how long callers ask again")] = 20.0,
    count: Annotated[int, typer.Option("--replicas", min=2, help="that serve")] = 3,
    first_port: Annotated[int, typer.Option(help="this and those behind it are used")] = 4300,
    min_ready_s: Annotated[float | None, typer.Option(help="default: that of k8s/base")] = None,
    pre_stop_s: Annotated[float | None, typer.Option(help="default: that of k8s/base")] = None,
    side: Annotated[int, typer.Option(help="of the largest film, in pixels")] = 1024,
    phantoms: Annotated[int, typer.Option(min=2, help="chests that are drawn")] = 6,
    models_dir: Annotated[Path, typer.Option(help="where packages are")] = ROOT / "models",
    python: Annotated[Path, typer.Option(help="of the serving environment")] = (
        ROOT / ".venv" / "bin" / "python"
    ),
) -> None:
    """Restart, kill, hang and upgrade replicas behind HAProxy under load; 1 if that cost a film."""
    names = list(SCENARIOS) if scenario == "all" else scenario.split(",")
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: none of {', '.join(SCENARIOS)}")
    if program("haproxy") is None:
        _err.print(NOT_HERE)
        raise typer.Exit(2)
    steps = replacement()
    wanted = Wanted(
        scenarios=names,
        replacement=replace(
            steps,
            min_ready_s=steps.min_ready_s if min_ready_s is None else min_ready_s,
            pre_stop_s=steps.pre_stop_s if pre_stop_s is None else pre_stop_s,
        ),
        models_dir=models_dir,
        python=python,
        callers=tuple(callers.split(",")),
        load=load / 100,
        rate=rate,
        retry_s=retry_s,
        count=count,
        first_port=first_port,
        side=side,
        phantoms=phantoms,
    )
    made = describe(ROOT) | {
        "command": shlex.join(["python", "-m", "load_tests.replicas", *sys.argv[1:]])
    }
    # Else replicas would outlive us.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="replicas-", ignore_cleanup_errors=True) as folder:
        found = conducted(wanted, Path(folder), _say)
    kept.write(found, wanted, made, out)
    print("\n".join(kept.table(found)))
    faults = {name: one.figures.faults for name, one in found.trials.items() if one.figures.faults}
    for name, told in faults.items():
        for fault in told:
            _err.print(f"{name}: {fault}", markup=False, highlight=False)
    if faults:
        raise typer.Exit(1)


def _say(text: str) -> None:
    _err.print(text, markup=False, highlight=False)


def main() -> None:
    """Entry point."""
    typer.run(replicas)
