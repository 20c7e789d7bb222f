"""`cxrserve models import`: torch is imported when it runs."""

# ruff: noqa: PLC0415 - a late import is what keeps torch out of every other command

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrserve.errors import CxrError

if TYPE_CHECKING:
    from cxrserve.models.manifest import Manifest

_NEEDED = ("torch", "torchvision", "onnx", "onnxscript")
_XRV = "torchxrayvision:"


def register(models_app: typer.Typer) -> None:
    """Add `import` to `cxrserve models`."""
    models_app.command("import")(_import)


def _import(  # noqa: PLR0917 - typer's options
    source: Annotated[
        str | None,
        typer.Argument(
            help="torchxrayvision:densenet121-res224-{all,nih,pc,chex,rsna,mimic_nb,mimic_ch}"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="the published file; nothing is downloaded")
    ] = None,
    torchvision: Annotated[
        str | None, typer.Option(help="densenet121 or resnet50: a checkpoint in the way of CheXNet")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="file of --torchvision")] = None,
    labels: Annotated[
        str | None, typer.Option(help="of --torchvision: nih14, or names with commas between")
    ] = None,
    side: Annotated[int, typer.Option(min=32, max=2048, help="of --torchvision: pixels")] = 224,
    name: Annotated[str | None, typer.Option(help="name of the package")] = None,
    package: Annotated[
        Path | None, typer.Option(help="folder to write; default: models/<name of the package>")
    ] = None,
) -> None:
    """Make a model package of published weights. No code in the file is run."""
    if (source is None) == (torchvision is None):
        typer.echo("name either a source (torchxrayvision:…) or --torchvision", err=True)
        raise typer.Exit(2)
    try:
        if source is not None:
            manifest, folder = _published(source, weights, package=package, name=name)
        else:
            assert torchvision is not None
            from cxrserve.training.importing.torchvision_checkpoint import import_torchvision

            _check_extra(given=checkpoint)
            manifest, folder = import_torchvision(
                torchvision, checkpoint, labels, package=package, side=side, as_name=name
            )
    except CxrError as error:
        typer.echo(f"{error.detail}\n{error.advice}".rstrip(), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{manifest.name} {manifest.version} written to {folder}")


def _published(
    source: str, weights: Path | None, *, package: Path | None, name: str | None
) -> tuple[Manifest, Path]:
    from cxrserve.training.importing.errors import ImportNotPossible
    from cxrserve.training.importing.torchxrayvision import import_torchxrayvision

    if not source.startswith(_XRV):
        raise ImportNotPossible(
            f"the source {source!r} is not known",
            advice=f"it must begin with {_XRV}, or pass --torchvision",
        )
    _check_extra(given=weights)
    return import_torchxrayvision(source.removeprefix(_XRV), weights, package=package, as_name=name)


def _check_extra(*, given: Path | None) -> None:
    """Say what is not installed, unless no file was given: that is said first."""
    missing = [needed for needed in _NEEDED if find_spec(needed) is None]
    if given is not None and missing:
        typer.echo(
            f"importing needs {', '.join(missing)}: install the extra with "
            "`pip install 'cxrserve[train]'`",
            err=True,
        )
        raise typer.Exit(1)
