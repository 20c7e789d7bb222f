"""`cxrserve train`, `evaluate`, `select`, `export` …: torch is imported when one runs."""

# ruff: noqa: PLC0415 - a late import is what keeps torch out of every other command

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrserve.training import reference_commands
from cxrserve.training.command_line import DATA, RECIPE, Data, RecipeName, trainer

Run = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run; default: runs/<recipe's name>.")
]

export_app = typer.Typer(invoke_without_command=True)
"""`cxrserve export` writes a package; what packages are written as is added to it."""


def register(app: typer.Typer) -> None:
    """Add `train`, `evaluate`, `select`, `export`, `sheet`, `reference` and `drift`."""
    app.command("train")(_train)
    app.command("evaluate")(_evaluate)
    app.command("select")(_select)
    app.add_typer(export_app, name="export")
    app.command("sheet")(_sheet)
    reference_commands.register(app)


def _train(
    recipe: RecipeName,
    data: Data,
    out: Run = None,
    resume: Annotated[bool, typer.Option(help="Go on where a stopped run was.")] = True,
) -> None:
    """Train the network of a recipe."""
    with trainer():
        from cxrserve.training.recipe import read_recipe
        from cxrserve.training.train import train

        read = read_recipe(recipe)
        checkpoint = train(read, data=data, out=_run(out, read.name), resume=resume)
        typer.echo(f"best checkpoint: {checkpoint}")


def _evaluate(recipe: RecipeName, data: Data, out: Run = None) -> None:
    """Calibrate and measure a trained network on the test split."""
    with trainer():
        from cxrserve.training.evaluate import evaluate
        from cxrserve.training.recipe import read_recipe

        read = read_recipe(recipe)
        for metric in evaluate(read, data=data, run=_run(out, read.name)).metrics:
            point = f" at {metric.operating_point}" if metric.operating_point else ""
            figure = metric.interval
            typer.echo(
                f"{metric.name} of {metric.label}{point} [{metric.split}, {metric.images} images]: "
                f"{figure.value:.4f} ({figure.low:.4f}–{figure.high:.4f})"
            )


@export_app.callback()
def _export(  # noqa: PLR0917 - typer's options
    context: typer.Context,
    recipe: Annotated[str | None, RECIPE] = None,
    data: Annotated[Path | None, DATA] = None,
    out: Run = None,
    package: Annotated[
        Path | None, typer.Option(help="Folder to write; default: models/<recipe's name>.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16 or int8; repeatable; default: those of the recipe."),
    ] = None,
) -> None:
    """Write the model package of an evaluated run; or, with `triton`, packages for Triton."""
    if context.invoked_subcommand is not None:
        return
    if recipe is None or data is None:
        missing = "--recipe" if recipe is None else "--data"
        raise typer.BadParameter("it must be given", param_hint=missing)
    with trainer():
        from cxrserve.training.export import export
        from cxrserve.training.recipe import read_recipe

        read = read_recipe(recipe)
        folder = package or Path("models") / read.name
        manifest = export(
            read,
            data=data,
            run=_run(out, read.name),
            package=folder,
            precisions=precision or (),
        )
        typer.echo(f"{manifest.name} {manifest.version} written to {folder}")


def _select(
    selection: Annotated[
        str, typer.Option("--selection", help="Name of a selection, or a path to a .yaml file.")
    ],
    data: Data,
    runs: Annotated[Path, typer.Option(help="Folder with the candidates' runs.")] = Path("runs"),
    package: Annotated[
        Path | None, typer.Option(help="Folder to write; default: models/<its name>.")
    ] = None,
) -> None:
    """Choose the best of several trained networks, and write its package."""
    with trainer():
        from cxrserve.training.select import read_selection, select

        read = read_selection(selection)
        folder = package or Path("models") / read.name
        _, candidates = select(read, data=data, runs=runs, package=folder)
        for one in candidates:
            typer.echo(
                f"{'->' if one.chosen else '  '} {one.recipe}: AUC {one.auc:.4f} "
                f"({one.low:.4f}–{one.high:.4f}), {one.latency_ms:.1f} ms, {one.megabytes:.1f} MB"
            )


def _sheet(
    package: Annotated[Path, typer.Argument(help="Folder of the package, e.g. models/triage.")],
    recipe: RecipeName,
    data: Data,
    out: Annotated[
        Path, typer.Option(help="Folder to write into; real films, so keep it out of git.")
    ] = Path("runs/sheets"),
) -> None:
    """Draw for each finding three true positives and a false one, with their maps."""
    with trainer():
        from cxrserve.models.package import read_package
        from cxrserve.training.recipe import read_recipe
        from cxrserve.training.sheet import draw_sheet

        typer.echo(draw_sheet(read_recipe(recipe), read_package(package), data=data, out=out))


def _run(out: Path | None, name: str) -> Path:
    return out or Path("runs") / name
