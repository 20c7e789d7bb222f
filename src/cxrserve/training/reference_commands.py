"""`cxrserve reference`, `cxrserve drift`: how a package's probabilities should lie, and do.

Your own films need no extra; the films of a recipe need that of training.
"""

# ruff: noqa: PLC0415 - a late import keeps the networks out of every other command

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from cxrserve.training.command_line import DATA, NEEDED, RECIPE, trainer

if TYPE_CHECKING:
    from cxrserve.radiograph.gate import QualityGate
    from cxrserve.training.datasets import Split

Package = Annotated[Path, typer.Argument(help="Folder of the package, e.g. models/triage.")]
OwnFilms = Annotated[
    Path | None,
    typer.Option("--films", help="Folder of your own films: DICOM, PNG or JPEG.", exists=True),
]
Gate = Annotated[
    Path | None,
    typer.Option("--gate", help="The gate for your own films; default: beside the package."),
]


def register(app: typer.Typer) -> None:
    """Add `reference` and `drift` to the command."""
    app.command("reference")(_reference)
    app.command("drift")(_drift)


def _reference(
    package: Package,
    data: Annotated[Path | None, DATA] = None,
    recipe: Annotated[str | None, RECIPE] = None,
    films: OwnFilms = None,
    gate: Gate = None,
) -> None:
    """Write into a package how its probabilities lie: on the films that its training held out.

    With --films, on your own: then drift is measured against what is usual in your place.
    """
    with trainer(() if films else NEEDED):
        from cxrserve.observability.drift import WINDOW, expected_without_drift
        from cxrserve.training.reference import add_reference

        if films is not None:
            files, refusing = _own(films, gate or package.parent / "gate")
            added = add_reference(package, _shown(files), films="own", gate=refusing)
        else:
            files = _of_recipe(package, _given(data), recipe, "val")
            added = add_reference(package, _shown(files), films="val")
        bins = max(len(label.shares) for label in added.reference.labels.values())
        noise = expected_without_drift(bins, added.reference.images, WINDOW)
        typer.echo(
            f"{package.name}: {added.reference.images} films read, {added.left_out} left out; "
            f"{bins} bins: without drift the index of {WINDOW} answers is about {noise:.3f}"
        )


def _drift(  # noqa: PLR0917 - typer's options
    package: Package,
    data: Annotated[Path | None, DATA] = None,
    recipe: Annotated[str | None, RECIPE] = None,
    task: Annotated[
        str | None, typer.Option(help="Films of this task of the data, not of the recipe.")
    ] = None,
    films: OwnFilms = None,
    gate: Gate = None,
) -> None:
    """Print how far films are from a package's reference: of your own, or of the test split."""
    with trainer(() if films else NEEDED):
        from cxrserve.training.reference import drift_of

        refusing = None
        if films is not None:
            files, refusing = _own(films, gate or package.parent / "gate")
        elif task is not None:
            files = _of_task(_given(data), task)
        else:
            files = _of_recipe(package, _given(data), recipe, "test")
        drift = drift_of(package, _shown(files), gate=refusing)
        typer.echo(
            f"{package.name}: {drift.images} films read, {drift.left_out} left out, against "
            f"{drift.reference.images}; without drift the index is about {drift.noise:.3f}"
        )
        for label, seen in drift.labels.items():
            said = drift.reference.labels[label]
            positive = ""
            if seen.positive_rate is not None and said.positive_rate is not None:
                positive = f", positive {seen.positive_rate:.1%} ({said.positive_rate:.1%})"
            typer.echo(
                f"{label}: index {seen.index:.3f}, mean {seen.mean:.3f} ({said.mean:.3f}){positive}"
            )


def _given(data: Path | None) -> Path:
    if data is None:
        raise typer.BadParameter("it or --films must be given", param_hint="--data")
    return data


def _own(films: Path, gate: Path) -> tuple[list[Path], QualityGate]:
    from cxrserve.radiograph.gate import QualityGate
    from cxrserve.radiograph.gate_network import load_gate_network

    files = sorted(file for file in films.rglob("*") if file.is_file())
    return files, QualityGate(load_gate_network(gate))


def _of_task(data: Path, task: str) -> list[Path]:
    from cxrserve.training.datasets import read_manifest

    return [data / film.file for film in read_manifest(data, task=task) if film.split == "test"]


def _of_recipe(package: Path, data: Path, recipe: str | None, split: Split) -> list[Path]:
    """The films of a split of the recipe that made a package; they must be those of this data."""
    from cxrserve.models.package import read_package
    from cxrserve.training.datasets import UnusableData, films_of, manifest_sha256
    from cxrserve.training.recipe import read_recipe, recipe_of

    made = read_package(package).manifest.provenance
    read = read_recipe(recipe) if recipe else recipe_of(made.recipe_sha256)
    if (read.sha256, manifest_sha256(data)) != (made.recipe_sha256, made.data_manifest_sha256):
        raise UnusableData(
            "the package was made by another recipe or of other data",
            advice="name those that made it, or take your own films with --films",
        )
    return [data / film.file for film in films_of(data, read, split)]


def _shown(files: Sequence[Path]) -> Iterable[Path]:
    return track(files, "reading", console=Console(stderr=True))
