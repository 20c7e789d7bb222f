"""Shenzhen and Montgomery (Jaeger et al., 2014): 800 films, normal or with tuberculosis.

The folder holds `CXR_png/CHNCXR_0001_0.png` (Shenzhen) or `MCUCXR_0001_0.png` (Montgomery), whose
last digit is 1 for tuberculosis; perhaps `ClinicalReadings/` with a text a film, and `masks/` with
one lung mask a film. Montgomery's own `ManualMask/`, a file for each lung, is not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from cxrserve.training.datasets import Film, UnusableData, refuse_leakage
from cxrserve.training.layouts.ages import age_years
from cxrserve.training.layouts.lung_masks import find_mask
from cxrserve.training.layouts.splits import stable_split

VAL_SHARE, TEST_SHARE = 0.1, 0.2  # of the patients

_SOURCES = {"CHNCXR": "Shenzhen", "MCUCXR": "Montgomery"}
_LABELS = {"0": ("normal",), "1": ("tuberculosis",)}
_NAME = re.compile(r"(?P<patient>(?P<set>CHNCXR|MCUCXR)_\d+)_(?P<class>[01])")
# Shenzhen's readers wrote `male 45yrs`, and also `femal 32yrs`, `female24yrs`, `male , 29yrs`.
_SHENZHEN = re.compile(r"\s*(?P<sex>[mf])[a-z]*?[\s,]*(?P<age>\d+ *[a-z]*)", re.IGNORECASE)
_MONTGOMERY = re.compile(
    r"\s*Patient.s Sex:\s*(?P<sex>\w?)\s+Patient.s Age:\s*(?P<age>\w*)", re.IGNORECASE
)
_SAME = re.compile(r"same (?:pt|patient) as (?P<patient>(?:CHNCXR|MCUCXR)_\d+)", re.IGNORECASE)


def recognises(folder: Path) -> bool:
    """Whether a film is named as in one of the two sets."""
    return any(_NAME.fullmatch(path.stem) for path in (folder / "CXR_png").glob("*.png"))


def read(folder: Path) -> tuple[Film, ...]:
    """The films, of the task `tb`, split 70/10/20 by a stable share of the patients.

    A patient is the number in the file name, unless the reading says `same pt as MCUCXR_…`.

    Raises:
        UnusableData: a film's name does not say whose it is and whether it shows tuberculosis.
    """
    films = tuple(_film(folder, path) for path in sorted((folder / "CXR_png").glob("[!.]*.png")))
    refuse_leakage(films)
    return films


def _film(folder: Path, path: Path) -> Film:
    name = _NAME.fullmatch(path.stem)
    if not name:
        raise UnusableData(
            f"{path.name} is named neither as in Shenzhen nor as in Montgomery",
            advice="keep the names of the download, such as CHNCXR_0001_0.png",
        )
    reading = _reading(folder, path.stem)
    same = _SAME.search(reading)
    patient = (same or name)["patient"]
    told = _MONTGOMERY.match(reading) or _SHENZHEN.match(reading)
    return Film(
        file=path.relative_to(folder).as_posix(),
        task="tb",
        labels=_LABELS[name["class"]],
        patient=patient,
        split=stable_split(patient, val=VAL_SHARE, test=TEST_SHARE),
        age_years=age_years(told["age"]) if told else None,
        source=_SOURCES[name["set"]],
        sex=told["sex"].upper() if told else "",
        mask=find_mask(folder, path.stem),
    )


def _reading(folder: Path, stem: str) -> str:
    path = folder / "ClinicalReadings" / f"{stem}.txt"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
