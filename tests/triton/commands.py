"""`cxrserve export triton`, as the tests run it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from cxrserve.cli import app


def export_triton(folder: Path, models: Path, *options: str) -> Result:
    """Export into `folder` from the packages in `models`."""
    arguments = ["export", "triton", str(folder), *options]
    environment = {"CXRSERVE_MODELS_DIR": str(models), "CXRSERVE_CACHE_DIR": "off"}
    return CliRunner().invoke(app, arguments, env=environment)
