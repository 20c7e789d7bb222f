"""Kermany et al., Cell 2018: 5,856 films of children aged 1–5 with and without pneumonia.

The folder is `chest_xray/`, or holds it: `{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg` as on
Kaggle, or `{train,test}` as on Mendeley.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cxrserve.training.datasets import Film, Split, UnusableData, refuse_leakage
from cxrserve.training.layouts.splits import stable_split

VAL_SHARE = 1 / 10  # of the patients outside test

_LABELS = {
    "normal": ("normal",),
    "bacteria": ("pneumonia", "bacterial"),
    "virus": ("pneumonia", "viral"),
}
_FOLDERS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
_PNEUMONIA = re.compile(r"(?P<who>person\d+)_(?P<kind>bacteria|virus)_\d+")
_NORMAL = re.compile(r"(?P<who>(?:NORMAL2-)?IM-\d+)-\d+")
_THIRD_VERSION = re.compile(r"(?P<kind>NORMAL|BACTERIA|VIRUS)-(?P<who>\d+)-\d+")


def recognises(folder: Path) -> bool:
    """Whether there are training folders of the two classes."""
    train = _root(folder) / "train"
    return (train / "NORMAL").is_dir() and (train / "PNEUMONIA").is_dir()


def read(folder: Path) -> tuple[Film, ...]:
    """The films, of the task `pneumonia`.

    `test/` stays the test split. `val/` has 16 films, too few to choose anything by: it is joined
    to `train/`, and validation is a stable share of the patients of both.

    A patient is the number in the file name together with its kind, since bacteria, virus, `IM`
    and `NORMAL2-IM` count separately: `person100_bacteria_475` and `person100_virus_184` are not
    one child as far as the names tell. Within a kind, one count runs through all three folders
    (bacteria 78–175 are in `test/`, the others are not), so a number found on both sides of the
    test split means that files were moved, and is refused.

    Raises:
        UnusableData: there is no test film, a name does not say who the patient is or contradicts
            its folder, or a patient is in two splits.
    """
    films = tuple(_films(folder))
    if not any(film.split == "test" for film in films):
        raise UnusableData(
            "there is no film in test/", advice="unpack the whole download, not train/ alone"
        )
    refuse_leakage(films)
    return films


def _root(folder: Path) -> Path:
    inside = folder / "chest_xray"
    return inside if inside.is_dir() else folder


def _films(folder: Path) -> Iterator[Film]:
    for part in _FOLDERS:
        for path in sorted((_root(folder) / part).glob("*/[!.]*.jpeg")):
            kind, patient = _kind_and_patient(path)
            split: Split = "test" if part == "test" else stable_split(patient, val=VAL_SHARE)
            yield Film(
                file=path.relative_to(folder).as_posix(),
                task="pneumonia",
                labels=_LABELS[kind],
                patient=patient,
                split=split,
                source="Kermany 2018 (paediatric, Guangzhou)",
                view="AP",  # all of them, says the paper
            )


def _kind_and_patient(path: Path) -> tuple[str, str]:
    kind, patient = _read_name(path)
    if (kind == "normal") != (path.parent.name == "NORMAL"):
        raise UnusableData(f"{path.name} is in the folder {path.parent.name}, not in its own")
    return kind, f"ker-{patient}"


def _read_name(path: Path) -> tuple[str, str]:
    if found := _PNEUMONIA.match(path.stem):
        return found["kind"], f"{found['who']}-{found['kind']}"
    if found := _NORMAL.match(path.stem):
        return "normal", found["who"]
    if found := _THIRD_VERSION.match(path.stem):
        return found["kind"].lower(), f"{found['kind']}-{found['who']}"
    raise UnusableData(
        f"{path.name} does not say whose film it is",
        advice="keep the names of the download, such as person12_bacteria_45.jpeg",
    )
