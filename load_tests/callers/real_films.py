"""Real films instead of phantoms: DICOM files, exports, and photographs made of the latter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from load_tests.callers.images import Drawn, photographed

_CONTENT_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def real_films(data: Path, *, photograph_side: int = 4096) -> Iterator[Drawn]:
    """Every file under `originals/` and `dicom/`, and a photograph of each original.

    Names are numbers: those of real files may tell of patients.

    Args:
        data: the folder.
        photograph_side: longest side of the photographs, at most.

    Raises:
        ValueError: there are none.
    """
    originals = [one for one in _files(data / "originals") if one.suffix.lower() in _CONTENT_TYPES]
    dicoms = [one for one in _files(data / "dicom") if one.suffix.lower() in (".dcm", "")]
    if not originals or not dicoms:
        raise ValueError(f"{data} has no images in originals/, or none in dicom/")
    for number, file in enumerate(dicoms):
        yield Drawn(
            name=f"film-{number}.dcm",
            kind="dicom",
            content_type="application/dicom",
            about="a real DICOM file",
            data=file.read_bytes(),
            same_pixels=None,
        )
    for number, file in enumerate(originals):
        suffix = file.suffix.lower()
        yield Drawn(
            name=f"export-{number}{suffix}",
            kind="plain",
            content_type=_CONTENT_TYPES[suffix],
            about=f"a real {suffix[1:].upper()}",
            data=file.read_bytes(),
            same_pixels=None,
        )
    for number, file in enumerate(itertools.islice(originals, 12)):
        with Image.open(file) as image:
            chest = np.asarray(image.convert("L"))
        name = f"photograph-{number}.jpg"
        yield photographed(chest, number, name=name, most=photograph_side)


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("*") if one.is_file())
