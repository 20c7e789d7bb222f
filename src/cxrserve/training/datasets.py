"""The films of a data folder: which there are, whose they are, and their pixels as served."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from cxrserve.errors import CxrError
from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit
from cxrserve.training.recipe import Recipe, Source

Split = Literal["train", "val", "test"]


class UnusableData(CxrError):
    """The data cannot be trained on honestly or at all."""

    code = "unusable_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where a reader saw something: a rectangle in shares of the film's width and height."""

    label: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One film. `file` and `mask` are paths inside the data folder; "" and None: not said.

    `mask` is an image of the film's size in which the lungs are white.
    """

    file: str
    task: str
    labels: tuple[str, ...]
    patient: str
    split: Split
    age_years: float | None = None
    source: str = ""
    view: str = ""
    sex: str = ""
    boxes: tuple[Box, ...] = ()
    mask: str | None = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The films of one split with what training needs.

    Attributes:
        pixels: uint8 `[n, side, side]`, fitted as serving fits them.
        targets: float32 `[n, K]`: 1 has the label, 0 has not, NaN is not known.
        films: what else is known of each; films of one patient are not independent.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float32]
    films: tuple[Film, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """One identifier a film."""
        return tuple(film.patient for film in self.films)

    def having(self, chosen: NDArray[np.bool_]) -> Examples:
        """The films that are chosen, bool `[n]`."""
        films = tuple(film for film, one in zip(self.films, chosen, strict=True) if one)
        return Examples(pixels=self.pixels[chosen], targets=self.targets[chosen], films=films)


def read_films(data: Path) -> tuple[Film, ...]:
    """All films of a folder: of its `manifest.csv`, or else of the public layout it has.

    Raises:
        UnusableData: nothing is known to describe the folder, a split is unknown, or a patient is
            in two splits.
    """
    path = data / "manifest.csv"
    if not path.is_file():
        from cxrserve.training.layouts import read_layout  # noqa: PLC0415 - it needs `Film`

        films = read_layout(data)
        if films is None:
            raise UnusableData(
                f"there is no manifest.csv in {data.name!r}, and it has no known layout",
                advice="see docs/training.md for both",
            )
        return films
    with path.open(encoding="utf-8", newline="") as file:
        films = tuple(_film(row) for row in csv.DictReader(file))
    refuse_leakage(films)
    return films


def manifest_sha256(data: Path) -> str | None:
    """Digest of a folder's `manifest.csv`; None where it has a public layout instead."""
    path = data / "manifest.csv"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def read_manifest(data: Path, *, task: str) -> tuple[Film, ...]:
    """The films of a task, in the manifest's order.

    Raises:
        UnusableData: as `read_films`; or there is no film of the task.
    """
    films = tuple(film for film in read_films(data) if film.task == task)
    if not films:
        raise UnusableData(f"the data has no film of the task {task!r}")
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


def load_examples(data: Path, recipe: Recipe, split: Split) -> Examples:
    """The films of one split in memory (5,000 films at side 224 are 250 MB).

    Where the data has no `val` of a source, every eighth patient of its `train` serves as one.

    Raises:
        UnusableData: the split is empty, a film has none or several of a multi-class model's
            labels, or lacks the mask that a segmentation model learns from.
    """
    films, targets = zip(*_split(data, recipe, split), strict=True)
    return Examples(
        pixels=load_pixels(data, films, recipe.input), targets=np.stack(targets), films=films
    )


def films_of(data: Path, recipe: Recipe, split: Split) -> tuple[Film, ...]:
    """The films of `load_examples`, without their pixels; raises as it does."""
    return tuple(film for film, _ in _split(data, recipe, split))


def load_pixels(data: Path, films: Sequence[Film], how: Input) -> NDArray[np.uint8]:
    """uint8 `[n, side, side]`, in the order of `films`."""
    return _in_threads(lambda film: fit(_grey(data / film.file), how), films)


def load_lungs(data: Path, films: Sequence[Film], how: Input) -> NDArray[np.uint8]:
    """Lung masks uint8 `[n, 2, side, side]`, 0 or 255: the patient's right lung, then the left.

    Raises:
        UnusableData: a film has no mask.
    """

    def one(film: Film) -> NDArray[np.uint8]:
        if film.mask is None:
            raise UnusableData(f"{film.file} has no lung mask")
        lungs = two_lungs(_grey(data / film.mask) > 127)
        return np.stack([np.uint8(255) * (fit(lung, how) > 127) for lung in lungs])

    return _in_threads(one, films)


def load_boxes(data: Path, films: Sequence[Film], label: str, how: Input) -> NDArray[np.uint8]:
    """Where a film's boxes are 255, else 0: uint8 `[n, side, side]`.

    Args:
        label: boxes whose name contains it count, whatever its case (`tuberculosis` names
            `ActiveTuberculosis` too).
    """

    def one(film: Film) -> NDArray[np.uint8]:
        with Image.open(data / film.file) as image:
            width, height = image.size
        painted = np.zeros((height, width), np.uint8)
        for box in film.boxes:
            if label.lower() in box.label.lower():
                top, left = round(box.top * height), round(box.left * width)
                bottom = max(top + 1, round((box.top + box.height) * height))
                right = max(left + 1, round((box.left + box.width) * width))
                painted[top:bottom, left:right] = 255
        return fit(painted, how)

    return _in_threads(one, films)


def two_lungs(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask of both lungs as two, uint8 `[2, h, w]`, 0 or 255, the picture's left one first.

    Pieces of lung belong to the side that their middle lies on; one piece that reaches over both
    is cut at the column between the lungs where it is thinnest.
    """
    pieces, count = ndimage.label(mask)
    columns = np.flatnonzero(mask.any(axis=0))
    lungs = np.zeros((2, *mask.shape), np.uint8)
    if not len(columns):
        return lungs
    first, last = int(columns[0]), int(columns[-1])
    middle = (first + last) / 2
    for number in range(1, count + 1):
        piece = pieces == number
        across = np.flatnonzero(piece.any(axis=0))
        if across[-1] - across[0] > 0.7 * (last - first):
            inner = slice(
                int(first + 0.35 * (last - first)), int(first + 0.65 * (last - first)) + 1
            )
            cut = inner.start + int(piece[:, inner].sum(axis=0).argmin())
            lungs[0, :, :cut][piece[:, :cut]] = 255
            lungs[1, :, cut:][piece[:, cut:]] = 255
        else:
            lungs[int(across.mean() > middle)][piece] = 255
    return lungs


def _in_threads(
    one: Callable[[Film], NDArray[np.uint8]], films: Sequence[Film]
) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.stack(list(threads.map(one, films)))


def _grey(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _film(row: dict[str, str]) -> Film:
    if row["split"] not in get_args(Split):
        raise UnusableData(f"{row['file']} has the unknown split {row['split']!r}")
    file = row["file"]
    return Film(
        file=file,
        task=row["task"],
        labels=tuple(label for label in row["labels"].split("|") if label),
        patient=row["patient"],
        split=row["split"],  # type: ignore[arg-type]
        age_years=float(row["age"]) if row.get("age") else None,
        source=row.get("source", ""),
        view=row.get("view", ""),
        sex=row.get("sex", "").upper(),
        boxes=_boxes(row),
        mask=str(PurePosixPath(file).parent / "masks" / f"{PurePosixPath(file).stem}.png")
        if row["task"] == "lungs"
        else None,
    )


def _boxes(row: dict[str, str]) -> tuple[Box, ...]:
    """`Label:x,y,w,h` in pixels of the original, |-separated."""
    if not row.get("boxes"):
        return ()
    width, height = float(row["original_width"]), float(row["original_height"])
    boxes = []
    for text in row["boxes"].split("|"):
        label, numbers = text.rsplit(":", 1)
        x, y, w, h = (float(number) for number in numbers.split(","))
        boxes.append(
            Box(label=label, left=x / width, top=y / height, width=w / width, height=h / height)
        )
    return tuple(boxes)


def _with_validation(films: Sequence[Film]) -> Sequence[Film]:
    if any(film.split == "val" for film in films):
        return films

    patients = {film.patient for film in films if film.split == "train"}
    # By hash, so that the order of the rows has no say.
    shuffled = sorted(patients, key=lambda patient: hashlib.sha256(patient.encode()).digest())
    drawn = set(shuffled[: -(-len(patients) // 8)])
    return [
        replace(film, split="val") if film.split == "train" and film.patient in drawn else film
        for film in films
    ]


def _split(data: Path, recipe: Recipe, split: Split) -> list[tuple[Film, NDArray[np.float32]]]:
    """The films of a split with their targets `[K]`."""
    everything = read_films(data)
    found = []
    for source in recipe.sources:
        for film in _with_validation([film for film in everything if film.task == source.task]):
            target = _target(film, source, recipe) if film.split == split else None
            if target is not None:
                found.append((film, target))
    if not found:
        raise UnusableData(f"the split {split!r} has no film")
    return found


def _target(film: Film, source: Source, recipe: Recipe) -> NDArray[np.float32] | None:
    """The targets `[K]` of a film; None: the source leaves it out."""
    target = np.zeros(len(recipe.labels), np.float32)
    target[[not label.trained for label in recipe.labels]] = np.nan
    if recipe.task == "segmentation":
        return np.full(len(recipe.labels), np.nan, np.float32)
    if source.meaning is not None:
        own = film.labels or ("",)
        meant = {source.meaning[label] for label in source.meaning if label in own}
        if not meant:
            return None
    else:
        meant = set(film.labels) & set(recipe.names)
    if recipe.task == "multi-class" and len(meant) != 1:
        raise UnusableData(f"{film.file} has {len(meant)} of the labels {recipe.names}, not one")
    for label in meant:
        target[recipe.names.index(label)] = 1
    return target
