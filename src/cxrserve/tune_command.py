"""`cxrserve models tune`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cxrserve.engines.plan import Plan, PlanStore
from cxrserve.errors import CxrError, ModelNotFound
from cxrserve.models.package import ModelPackage, read_package
from cxrserve.models.repository import package_folders
from cxrserve.settings import Settings
from cxrserve.tuning import Trial, fastest, tune, ways

_out = Console()
_err = Console(stderr=True)


def register(models_app: typer.Typer, settings: Callable[[], Settings]) -> None:
    """Add `tune` to `cxrserve models`; `settings` reads what is in force, or ends the command."""

    @models_app.command("tune")
    def tune_model(
        name: Annotated[str, typer.Argument(help="package to tune; NAME@VERSION works as well")],
        cache_dir: Annotated[
            Path | None,
            typer.Option(help="where to write the plan; default: where serving looks for it"),
        ] = None,
        seconds: Annotated[float, typer.Option(min=0.01, help="for each way and batch size")] = 1.0,
        as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    ) -> None:
        """Measure every way to run a model on this machine; serving uses the fastest exact one.

        Run it while the machine is otherwise idle. Exits with 1 if no way is exact enough.
        """
        try:
            in_force = settings()
            package = _package(in_force.models_dir, name)
            trials = _trials(package, seconds)
        except CxrError as error:
            _err.print(f"{error.detail}. {error.advice}".rstrip())
            raise typer.Exit(1) from None
        plan = fastest(trials)
        store = PlanStore(cache_dir or in_force.cache_dir)
        path = None if plan is None else store.write(package.digest, plan)
        if as_json:
            print(json.dumps(_as_json(package, trials, plan, path)))
        else:
            _out.print(_table(trials))
        if plan is None:
            _err.print("no way is exact enough: nothing was written")
            raise typer.Exit(1)
        where = (
            f"wrote {path}"
            if path
            else "not written: there is no cache folder (CXRSERVE_CACHE_DIR)"
        )
        _err.print(where, soft_wrap=True)


def _trials(package: ModelPackage, seconds: float) -> list[Trial]:
    candidates = ways(package)
    trials = []
    with Progress(console=_err) as progress:
        task = progress.add_task(package.manifest.name, total=len(candidates))
        for trial in tune(package, candidates, clock=time.perf_counter, seconds=seconds):
            trials.append(trial)
            progress.advance(task)
    return trials


def _package(models_dir: Path, name: str) -> ModelPackage:
    name, _, version = name.partition("@")
    found = []
    for folder in package_folders(models_dir):
        try:
            package = read_package(folder)
        except CxrError as error:
            _err.print(f"left out: {error.detail}")
            continue
        manifest = package.manifest
        if manifest.name == name and version in ("", manifest.version):
            found.append(package)
    if not found:
        raise ModelNotFound(f"there is no package {name!r}", advice="`cxrserve models list`")
    return max(found, key=_version_order)


def _version_order(package: ModelPackage) -> tuple[int, ...]:
    return tuple(int(part) for part in package.manifest.version.split("."))


def _as_json(
    package: ModelPackage, trials: list[Trial], plan: Plan | None, path: Path | None
) -> dict[str, object]:
    return {
        "model": package.manifest.name,
        "version": package.manifest.version,
        "digest": package.digest,
        "trials": [
            {
                **trial.way.model_dump(),
                "difference": trial.difference,
                "images_per_s": trial.images_per_s,
                "refused": trial.refused,
            }
            for trial in trials
        ],
        "plan": plan and plan.model_dump(),
        "written": path and str(path),
    }


def _table(trials: list[Trial]) -> Table:
    table = Table("engine", "graph", "as", "slots × threads", "batch", "images/s", "remark")
    table.columns[0].no_wrap = True
    best = fastest(trials)
    for trial in trials:
        way, plan = trial.way, trial.plan()
        table.add_row(
            f"{way.engine}-{way.device}",
            way.graph,
            way.precision,
            f"{way.slots} × {way.threads}",
            str(plan.batch) if plan else "",
            f"{plan.images_per_s:.1f}" if plan else "",
            trial.refused or ("fastest" if plan == best else ""),
        )
    return table
