"""Films with a lung mask each, under any names: `images/` or `CXR_png/`, and `masks/`."""

from __future__ import annotations

import logging
from pathlib import Path

from cxrserve.training.datasets import Film, UnusableData, refuse_leakage
from cxrserve.training.layouts.splits import stable_split

VAL_SHARE, TEST_SHARE = 0.1, 0.1  # of the films

_FOLDERS = ("CXR_png", "images")
_SUFFIXES = (".png", ".jpg", ".jpeg")

log = logging.getLogger(__name__)


def recognises(folder: Path) -> bool:
    """Whether there is a folder of masks beside one of films."""
    return (folder / "masks").is_dir() and any((folder / name).is_dir() for name in _FOLDERS)


def read(folder: Path) -> tuple[Film, ...]:
    """The films that have a mask, of the task `lungs`, without labels, split 80/10/10.

    The names say nothing of patients: each film is taken as a patient of its own. Films without a
    mask are left out, and their number is logged.

    Raises:
        UnusableData: no film has a mask.
    """
    paths = [
        path
        for name in _FOLDERS
        for path in sorted((folder / name).glob("[!.]*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    masks = {path: find_mask(folder, path.stem) for path in paths}
    films = tuple(_film(folder, path, mask) for path, mask in masks.items() if mask)
    if not films:
        raise UnusableData(
            f"none of {len(paths)} films has a mask in masks/",
            advice="name the mask of a.png masks/a.png or masks/a_mask.png",
        )
    if len(films) < len(paths):
        log.warning("%d of %d films have no lung mask", len(paths) - len(films), len(paths))
    refuse_leakage(films)
    return films


def find_mask(folder: Path, stem: str) -> str | None:
    """The path in the folder of the lung mask of the film `stem`, if there is one."""
    for name in (f"masks/{stem}.png", f"masks/{stem}_mask.png"):
        if (folder / name).is_file():
            return name
    return None


def _film(folder: Path, path: Path, mask: str) -> Film:
    return Film(
        file=path.relative_to(folder).as_posix(),
        task="lungs",
        labels=(),
        patient=path.stem,
        split=stable_split(path.stem, val=VAL_SHARE, test=TEST_SHARE),
        mask=mask,
    )
