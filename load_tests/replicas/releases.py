"""Releases of one model: packages whose answers differ, so that an answer shows whose it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from cxrserve.models.package import MANIFEST, read_package

MODEL = "triage"
"""The model that is asked, and upgraded."""
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
"""What is served first, what a roll-out brings, and what is loaded into running replicas."""

# Probabilities of every version differ from those of the others by far more than rounding does.
_TEMPERED = 1.25
_STRICTER = 1.1


def lay_out(folder: Path, versions: tuple[str, ...], *, models_dir: Path) -> Path:
    """A folder of models: the quality gate, and these versions of the model side by side.

    Args:
        folder: made.
        models_dir: where the packages are that it is made of.
    """
    folder.mkdir(parents=True)
    shutil.copytree(models_dir / "gate", folder / "gate")
    for version in versions:
        add_version(folder, version, models_dir=models_dir)
    return folder


def add_version(folder: Path, version: str, *, models_dir: Path) -> None:
    """Put a version beside those that are there, whole or not at all."""
    package = folder / MODEL / version
    unfinished = folder.with_name(f"{folder.name}-{version}-unfinished")
    shutil.copytree(models_dir / MODEL, unfinished)
    said = yaml.safe_load((unfinished / MANIFEST).read_bytes())
    later = VERSIONS.index(version)
    said["version"] = version
    said["calibration"]["temperature"] = round(
        said["calibration"]["temperature"] * _TEMPERED**later, 4
    )
    for thresholds in said["operating_points"].values():
        for label, value in thresholds.items():
            thresholds[label] = round(min(0.99, value * _STRICTER**later), 6)
    (unfinished / MANIFEST).write_text(yaml.safe_dump(said, sort_keys=False), "utf-8")
    read_package(unfinished)
    package.parent.mkdir(exist_ok=True)
    unfinished.rename(package)
