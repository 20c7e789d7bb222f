"""Programs of Debian packages that are unpacked here and not installed: Prometheus, HAProxy."""

from __future__ import annotations

import shutil
from pathlib import Path

_FOLDER = Path(__file__).parent / ".envs" / "debian" / "bin"


def program(name: str) -> str | None:
    """Where a program is: unpacked by `.ci/debian-binaries`, or on PATH; None if it is not here."""
    return shutil.which(name, path=str(_FOLDER)) or shutil.which(name)


def not_here(package: str) -> str:
    """Why a test is skipped, and what brings the package."""
    return f"no {package} here; `.ci/debian-binaries {package}` unpacks Debian's"
