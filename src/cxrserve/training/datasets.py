"""The images of `manifest.csv`: which there are, whose they are, and their pixels as served."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrserve.errors import CxrError
from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit

Split = Literal["train", "val", "test"]


class UnusableData(CxrError):
    """The data cannot be trained on honestly or at all."""

    code = "unusable_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One row of the manifest. `age_years` is None where the source does not say."""

    file: str
    task: str
    labels: tuple[str, ...]
    patient: str
    split: Split
    age_years: float | None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The films of one split with what training needs.

    Attributes:
        pixels: uint8 `[n, side, side]`, fitted as serving fits them.
        targets: int64 `[n]`, index of each film's label.
        patients: one identifier a film; films of one patient are not independent.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    patients: tuple[str, ...]


def read_manifest(data: Path, *, task: str) -> tuple[Film, ...]:
    """The films of a task, in the manifest's order.

    Raises:
        UnusableData: there is no manifest or no film of the task, a split is unknown, or a patient
            is in two splits.
    """
    path = data / "manifest.csv"
    if not path.is_file():
        raise UnusableData(
            f"there is no manifest.csv in {data.name!r}", advice="see docs/training.md"
        )
    with path.open(encoding="utf-8", newline="") as file:
        films = tuple(_film(row) for row in csv.DictReader(file) if row["task"] == task)
    if not films:
        raise UnusableData(f"the manifest has no film of the task {task!r}")
    refuse_leakage(films)
    return films


def refuse_leakage(films: Sequence[Film]) -> None:
    """Raise UnusableData, naming the patient, where a patient has films in two splits."""
    seen: dict[str, Split] = {}
    for film in films:
        split = seen.setdefault(film.patient, film.split)
        if split != film.split:
            raise UnusableData(
                f"patient {film.patient!r} is in the splits {split!r} and {film.split!r}",
                advice="give each patient one split, or the test figures mean nothing",
            )


def load_examples(
    data: Path, films: Sequence[Film], split: Split, *, labels: Sequence[str], how: Input
) -> Examples:
    """The films of one split in memory (5,000 films at side 224 are 250 MB).

    Raises:
        UnusableData: the split is empty, or a film has none or several of `labels`.
    """
    chosen = [film for film in films if film.split == split]
    if not chosen:
        raise UnusableData(f"the split {split!r} has no film")
    return Examples(
        pixels=load_pixels(data, chosen, how),
        targets=np.array([_target(film, labels) for film in chosen], np.int64),
        patients=tuple(film.patient for film in chosen),
    )


def load_pixels(data: Path, films: Sequence[Film], how: Input) -> NDArray[np.uint8]:
    """uint8 `[n, side, side]`, in the order of `films`."""

    def one(film: Film) -> NDArray[np.uint8]:
        with Image.open(data / film.file) as image:
            return fit(np.asarray(image.convert("L")), how)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.stack(list(threads.map(one, films)))


def _film(row: dict[str, str]) -> Film:
    split = row["split"]
    if split not in ("train", "val", "test"):
        raise UnusableData(f"{row['file']} has the unknown split {split!r}")
    return Film(
        file=row["file"],
        task=row["task"],
        labels=tuple(label for label in row["labels"].split("|") if label),
        patient=row["patient"],
        split=split,  # type: ignore[arg-type]
        age_years=float(row["age"]) if row["age"] else None,
    )


def _target(film: Film, labels: Sequence[str]) -> int:
    among = [index for index, label in enumerate(labels) if label in film.labels]
    if len(among) != 1:
        raise UnusableData(f"{film.file} has {len(among)} of the labels {list(labels)}, not one")
    return among[0]
