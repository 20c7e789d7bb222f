"""TBX11K (Liu et al., CVPR 2020): healthy, sick without tuberculosis, tuberculosis with boxes.

The folder holds `imgs/{health,sick,tb,…}/*.png`, `lists/TBX11K_{train,val}.txt` and, in COCO's
form, `annotations/json/TBX11K_{train,val}.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from cxrserve.training.datasets import Box, Film, UnusableData, refuse_leakage
from cxrserve.training.layouts.splits import stable_split

VAL_SHARE = 1 / 8  # of the official training list

_CLASSES = {"health": "normal", "sick": "sick", "tb": "tuberculosis"}
_ACTIVITY = {"ActiveTuberculosis": "active", "ObsoletePulmonaryTuberculosis": "latent"}


def recognises(folder: Path) -> bool:
    """Whether there are TBX11K's lists beside its films."""
    return (folder / "imgs").is_dir() and any((folder / "lists").glob("TBX11K_*.txt"))


def read(folder: Path) -> tuple[Film, ...]:
    """The films of TBX11K's own lists, of the task `tb`.

    The labels of the official test list are not public, so the official val list is the test
    split here, and validation is a stable share of the official training list. The `all_*` lists
    add films of Shenzhen, Montgomery and others (`imgs/extra/`); these are left to their own sets.

    The set names no patients: each film is taken as a patient of its own, so two films of one
    person may be on two sides unseen. Tuberculosis that the readers called uncertain
    (`PulmonaryTuberculosis`) or did not box is neither active nor latent.

    Raises:
        UnusableData: a list, an annotation file or a listed film is missing, a list has a film of
            an unknown class, or a film is in both lists.
    """
    films = (*_films(folder, "train"), *_films(folder, "val"))
    absent = [film.file for film in films if not (folder / film.file).is_file()]
    if absent:
        raise UnusableData(
            f"{len(absent)} of {len(films)} listed films are missing, the first is {absent[0]}",
            advice="unpack the whole of TBX11K.zip",
        )
    refuse_leakage(films)
    return films


def _films(folder: Path, part: Literal["train", "val"]) -> Iterator[Film]:
    listed = _needed(folder / "lists" / f"TBX11K_{part}.txt").split()
    boxes = _boxes(_coco(folder / "annotations" / "json" / f"TBX11K_{part}.json"))
    for line in listed:
        name = line.removeprefix("imgs/")
        patient = f"tbx-{Path(name).stem}"
        yield Film(
            file=f"imgs/{name}",
            task="tb",
            labels=_labels(name, boxes.get(name, ())),
            patient=patient,
            split="test" if part == "val" else stable_split(patient, val=VAL_SHARE),
            source="TBX11K",
            boxes=boxes.get(name, ()),
        )


def _needed(path: Path) -> str:
    if not path.is_file():
        raise UnusableData(f"{path.name} is missing", advice="unpack the whole of TBX11K.zip")
    return path.read_text(encoding="utf-8")


def _coco(path: Path) -> Mapping[str, Any]:
    try:
        coco: Mapping[str, Any] = json.loads(_needed(path))
    except json.JSONDecodeError as error:
        raise UnusableData(
            f"{path.name} is damaged: {error}", advice="unpack TBX11K.zip again"
        ) from error
    return coco


def _boxes(coco: Mapping[str, Any]) -> dict[str, tuple[Box, ...]]:
    """The boxes of each film that has some, by its path in `imgs/`, in shares of its size."""
    images = {image["id"]: image for image in coco["images"]}
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    found: dict[str, tuple[Box, ...]] = {}
    for annotation in coco["annotations"]:
        image = images[annotation["image_id"]]
        left, top, width, height = annotation["bbox"]
        box = Box(
            label=categories[annotation["category_id"]],
            left=left / image["width"],
            top=top / image["height"],
            width=width / image["width"],
            height=height / image["height"],
        )
        name = image["file_name"].removeprefix("imgs/")
        found[name] = (*found.get(name, ()), box)
    return found


def _labels(name: str, boxes: tuple[Box, ...]) -> tuple[str, ...]:
    kind = name.partition("/")[0]
    if kind not in _CLASSES:
        raise UnusableData(
            f"the list names {name}, which is in none of {', '.join(_CLASSES)}",
            advice="take the lists from TBX11K.zip again",
        )
    activity = {_ACTIVITY[box.label] for box in boxes if box.label in _ACTIVITY}
    return (_CLASSES[kind], *sorted(activity))
