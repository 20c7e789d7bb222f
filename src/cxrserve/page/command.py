"""`cxrserve page DIR`: the page as a folder of files that any web server can hand out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.page.about import about, written
from cxrserve.page.files import page_files
from cxrserve.page.local_models import LocalModel, local_models
from cxrserve.page.vendor import RUNTIME_FILES
from cxrserve.settings import Settings

_out = Console()
_err = Console(stderr=True)


def register(app: typer.Typer, settings: Callable[[], Settings]) -> None:
    """Add `page`; `settings` reads what is in force, or ends the command."""

    @app.command()
    def page(
        folder: Annotated[Path, typer.Argument(file_okay=False, help="where to write it")],
    ) -> None:
        """Write the page to a folder: it reads films on its user's device, without the service."""
        models = local_models(settings().models_dir)
        names = write_page(folder, models)
        if not set(RUNTIME_FILES) <= set(names):
            _err.print("without ONNX Runtime Web it reads nothing: run `make page` first")
        kept = ", ".join(model.package.manifest.name for model in models.values()) or "no network"
        _out.print(f"wrote {len(names)} files to {folder}, with {kept}")


def write_page(folder: Path, models: dict[str, LocalModel]) -> list[str]:
    """Write the page and these networks; gives the names of what was written."""
    contents = {name: file.data for name, file in page_files().items()}
    told = about(service=None, default_models=(), files=contents, models=models.values())
    for address, model in models.items():
        contents[address] = model.package.graph_bytes(model.graph)
    contents["about.json"] = written(told)
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return sorted(contents)
