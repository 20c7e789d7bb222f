"""The images that the gate is trained and measured on, by split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from cxrserve.training.datasets import Film, Split, read_manifest
from cxrserve.training.gate_images import Grey, Randomness

TASKS = ("nih14", "pneumonia", "covid", "tb", "lungs")
# Kermany's children are most of the films; the gate must pass adults just as well.
_DRAWN = {"nih14": 0.38, "pneumonia": 0.27, "tb": 0.18, "covid": 0.11, "lungs": 0.06}
_SIDE = 192
_PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Corpus:
    """Films, photographs and CT or MR slices, each uint8 `[h, w]`, by split.

    `tasks` and `sources` name the task of each film, in the order of `films`.
    """

    films: dict[Split, list[Grey]]
    tasks: dict[Split, list[str]]
    photographs: dict[Split, list[Grey]]
    slices: dict[Split, list[Grey]]

    def random_film(self, split: Split, rng: Randomness) -> Grey:
        """A film, each task drawn with its share."""
        places = self._places[split, str(rng.choice(list(_DRAWN), p=list(_DRAWN.values())))]
        return self.films[split][places[int(rng.integers(len(places)))]]

    @cached_property
    def _places(self) -> dict[tuple[Split, str], list[int]]:
        return {
            (split, task): [place for place, name in enumerate(names) if name == task]
            for split, names in self.tasks.items()
            for task in TASKS
        }


def read_corpus(data: Path, photographs: Sequence[Path]) -> Corpus:
    """Read everything into memory, about 300 MB.

    Args:
        data: folder with `manifest.csv`.
        photographs: folders of photographs that are no radiographs; a quarter of the files, by
            the digest of their names, is held out for measuring.
    """
    films = [film for task in TASKS for film in read_manifest(data, task=task)]
    with ThreadPoolExecutor(2) as threads:
        pixels = list(threads.map(lambda film: _small(data / film.file), films))
    by_split: dict[Split, list[tuple[Film, Grey]]] = {"train": [], "val": [], "test": []}
    for film, grey in zip(films, pixels, strict=True):
        by_split[film.split].append((film, grey))
    return Corpus(
        films={split: [grey for _, grey in both] for split, both in by_split.items()},
        tasks={split: [film.task for film, _ in both] for split, both in by_split.items()},
        photographs=_held_out(
            {path.name: _small(path) for folder in photographs for path in _files(folder)}
        ),
        slices=_held_out(_slices()),
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _PHOTOGRAPHS and path.stat().st_size > 8000:
            yield path


def _small(path: Path) -> Grey:
    with Image.open(path) as image:
        grey = image.convert("L")
        grey.thumbnail((2 * _SIDE, 2 * _SIDE) if "wallpaper" in str(path) else (_SIDE, _SIDE))
        return np.asarray(grey)


def _held_out(named: dict[str, Grey]) -> dict[Split, list[Grey]]:
    split: dict[Split, list[Grey]] = {"train": [], "val": [], "test": []}
    for name, grey in named.items():
        held_out = hashlib.sha256(name.encode()).digest()[0] % 4 == 0
        split["test" if held_out else "train"].append(grey)
    return split


def _slices() -> dict[str, Grey]:
    """CT and MR slices that come with pydicom for its own tests."""
    import pydicom  # noqa: PLC0415
    from pydicom.data import get_testdata_file  # noqa: PLC0415
    from pydicom.pixels.utils import pixel_array  # noqa: PLC0415

    slices = {}
    for name in (
        "CT_small.dcm",
        "MR_small.dcm",
        "JPEG2000.dcm",
        "JPEG-LL.dcm",
        "rtdose_1frame.dcm",
    ):
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        values = pixel_array(pydicom.dcmread(str(path)), index=0).astype(np.float32)
        values = values if values.ndim == 2 else values.mean(axis=2)
        low, high = np.percentile(values, (1, 99))
        grey = np.clip((values - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
        slices[name] = grey
    return slices
