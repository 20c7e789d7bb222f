"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 films with text-mined findings.

The folder holds `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`, the official lists
`train_val_list.txt` and `test_list.txt`, perhaps `BBox_List_2017.csv`, and the films in `images/`
or in `images_001/images/` to `images_012/images/`.
"""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from cxrserve.training.datasets import Box, Film, Split, UnusableData, refuse_leakage
from cxrserve.training.layouts.ages import age_years
from cxrserve.training.layouts.splits import stable_split

VAL_SHARE = 1 / 8  # of the patients of the official train_val list
BOX_SIDE = 1024  # boxes are in pixels of films scaled to 1024×1024 (the set's README)

_SITE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
_BOX_LABELS = {"Infiltrate": "Infiltration"}  # the one finding the two tables spell differently

log = logging.getLogger(__name__)


def recognises(folder: Path) -> bool:
    """Whether the folder holds the table of ChestX-ray14."""
    return any(folder.glob("Data_Entry_2017*.csv"))


def read(folder: Path) -> tuple[Film, ...]:
    """The films that are present, of the task `nih14`; no label means "No Finding".

    The official test list is the test split. Validation is a stable share of the patients of the
    train_val list. Films of archives not yet downloaded are left out, and their number is logged.

    Raises:
        UnusableData: an official list or a column is missing, a film is in neither or both lists,
            no film is present, or a patient is in two splits.
    """
    rows = _rows(folder)
    paths = _paths(folder)
    here = [row for row in rows if row["Image Index"] in paths]
    if not here:
        raise UnusableData(
            f"none of the {len(rows)} films of ChestX-ray14 is in {folder.name!r}",
            advice=f"unpack images_001.tar.gz and the following from {_SITE} there",
        )
    if len(here) < len(rows):
        log.warning("%d of %d films of ChestX-ray14 are absent", len(rows) - len(here), len(rows))
    official = _Official(folder)
    boxes = _boxes(folder)
    films = tuple(_film(row, paths, official, boxes) for row in here)
    refuse_leakage(films)
    return films


def _rows(folder: Path) -> list[dict[str, str]]:
    table = max(folder.glob("Data_Entry_2017*.csv"))  # the newer, `_v2020`, sorts last
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise UnusableData(f"{table.name} has no column {absent[0]!r}")
        return list(reader)


def _paths(folder: Path) -> dict[str, str]:
    """The path in the folder of each film, by its file name."""
    return {
        path.name: path.relative_to(folder).as_posix()
        for pattern in ("images/*.png", "images_*/images/*.png")
        for path in folder.glob(pattern)
    }


class _Official:
    """The official lists of files, which the makers split by patient."""

    def __init__(self, folder: Path) -> None:
        self._train_val = _list(folder / "train_val_list.txt")
        self._test = _list(folder / "test_list.txt")

    def split(self, name: str, patient: str) -> Split:
        in_test = name in self._test
        if in_test == (name in self._train_val):
            raise UnusableData(
                f"{name} is in {'both' if in_test else 'neither'} of the official lists",
                advice=f"take both lists from {_SITE} again",
            )
        return "test" if in_test else stable_split(patient, val=VAL_SHARE)


def _list(path: Path) -> frozenset[str]:
    if not path.is_file():
        raise UnusableData(
            f"{path.name} is missing: without the official split, figures cannot be compared",
            advice=f"download train_val_list.txt and test_list.txt from {_SITE}",
        )
    return frozenset(path.read_text(encoding="utf-8").split())


def _boxes(folder: Path) -> Mapping[str, tuple[Box, ...]]:
    """The boxes of each film that has some.

    The table is read by position: its third heading, `Bbox [x,y,w,h]`, falls apart at its commas.
    """
    found: defaultdict[str, tuple[Box, ...]] = defaultdict(tuple)
    table = folder / "BBox_List_2017.csv"
    if table.is_file():
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            for name, label, *numbers in filter(None, rows):
                found[name] += (_box(label, [float(number) for number in numbers[:4]]),)
    return found


def _box(label: str, pixels: list[float]) -> Box:
    left, top, width, height = (pixel / BOX_SIDE for pixel in pixels)
    label = _BOX_LABELS.get(label, label)
    return Box(label=label, left=left, top=top, width=width, height=height)


def _film(
    row: dict[str, str],
    paths: Mapping[str, str],
    official: _Official,
    boxes: Mapping[str, tuple[Box, ...]],
) -> Film:
    name = row["Image Index"]
    patient = f"nih-{int(row['Patient ID'])}"
    findings = row["Finding Labels"].split("|")
    return Film(
        file=paths[name],
        task="nih14",
        labels=tuple(finding for finding in findings if finding != "No Finding"),
        patient=patient,
        split=official.split(name, patient),
        age_years=age_years(row["Patient Age"]),
        source="NIH ChestX-ray14",
        view=row["View Position"],
        sex=row.get("Patient Gender") or row.get("Patient Sex") or "",  # renamed in 2020
        boxes=boxes.get(name, ()),
    )
