"""What the commands of training share: options, and how they begin and end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from cxrserve.errors import CxrError

RECIPE = typer.Option(
    "--recipe", help="Name of a recipe of the package, or a path to a .yaml file."
)
DATA = typer.Option(
    "--data", envvar="CXRSERVE_DATA_DIR", help="Folder with manifest.csv and the images."
)
RecipeName = Annotated[str, RECIPE]
Data = Annotated[Path, DATA]

NEEDED = ("torch", "h5py", "sklearn", "matplotlib", "onnx", "onnxscript")


@contextmanager
def trainer(needed: Iterable[str] = NEEDED) -> Iterator[None]:
    """Say what is missing, log to the terminal, and end a named error with its advice."""
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        typer.echo(
            f"training needs {', '.join(missing)}: install the extra with "
            "`pip install 'cxrserve[train]'`",
            err=True,
        )
        raise typer.Exit(1)
    logging.basicConfig(
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    logging.getLogger("cxrserve").setLevel(logging.INFO)
    try:
        yield
    except CxrError as error:
        typer.echo(f"{error.detail}\n{error.advice}".rstrip(), err=True)
        raise typer.Exit(1) from error
