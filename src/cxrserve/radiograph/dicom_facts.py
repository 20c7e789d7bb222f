"""What a DICOM header says about its image, without anything that names a patient."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import DA

from cxrserve.radiograph.radiograph import AgeBand, Facts, Identifiers

_PHANTOM = "PHANTOM^NOT A PATIENT"
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# What a field may hold is known, so a name typed into the wrong one is not passed on.
_VIEW = re.compile(r"AP|PA|LAT|LATERAL|[LR]L|[LR]LAT|[LR]L[DO]|[LR][AP]O")
_LATERALITY = re.compile(r"[LRBU]")
_MODALITY = re.compile(r"[A-Z]{2,5}|RT[A-Z]{1,8}")
_BODY_PART = re.compile(r"[A-Z][A-Z _]{1,15}")
_PHOTOMETRIC = re.compile(r"MONOCHROME[12]|PALETTE COLOR|RGB|YBR_[A-Z0-9_]{2,11}")
_UID = re.compile(r"[0-9][0-9.]{0,63}")


def facts_of(dataset: Dataset, saturation: float) -> Facts:
    """Collect the facts; what is absent or unreadable stays unknown.

    Args:
        dataset: the DICOM header.
        saturation: mean saturation of the decoded image, 0..1.
    """
    return Facts(
        view=_view(dataset),
        laterality=_code(dataset, "ImageLaterality", _LATERALITY)
        or _code(dataset, "Laterality", _LATERALITY),
        spacing_mm=_spacing(dataset),
        age_band=_age_band(dataset),
        modality=_code(dataset, "Modality", _MODALITY),
        body_part=_code(dataset, "BodyPartExamined", _BODY_PART),
        colour=saturation > 0,
        saturation=saturation,
        photometric=_code(dataset, "PhotometricInterpretation", _PHOTOMETRIC) or "",
        bits_stored=int(dataset.get("BitsStored", 0) or dataset.BitsAllocated),
        phantom=_text(dataset, "PatientName") == _PHANTOM,
        identifiers=Identifiers(
            study=_code(dataset, "StudyInstanceUID", _UID) or "",
            series=_code(dataset, "SeriesInstanceUID", _UID) or "",
            sop_instance=_code(dataset, "SOPInstanceUID", _UID) or "",
        ),
    )


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """An element's numbers; empty where it is absent or holds anything that is no number."""
    value = _value(dataset, keyword)
    several = value if isinstance(value, MultiValue) else (value,)
    try:
        found = tuple(float(str(one)) for one in several)
    except ValueError:
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID (PS3.5 section 9), and so names no person."""
    return _UID.fullmatch(text) is not None


def _value(dataset: Dataset, keyword: str) -> Any:
    # pydicom converts on access, and raises for what a decimal, a date or a length cannot be.
    try:
        return dataset.get(keyword)
    except (ValueError, TypeError, BytesLengthException, NotImplementedError, struct.error):
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    value = _value(dataset, keyword)
    return "" if value is None or isinstance(value, MultiValue) else str(value).strip().upper()


def _code(dataset: Dataset, keyword: str, form: re.Pattern[str]) -> str | None:
    value = _text(dataset, keyword)
    return value if form.fullmatch(value) else None


def _view(dataset: Dataset) -> str | None:
    position = _code(dataset, "ViewPosition", _VIEW)
    if position:
        return position
    sequence = _value(dataset, "ViewCodeSequence")
    if not isinstance(sequence, Sequence) or not sequence:
        return None
    meaning = _text(sequence[0], "CodeMeaning").lower()
    if "lateral" in meaning:
        return "LATERAL"
    if "postero" in meaning:
        return "PA"
    return "AP" if "antero" in meaning else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    # At the detector first: Pixel Spacing may be calibrated to something else.
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        pair = numbers(dataset, keyword)
        if len(pair) == 2 and min(pair) > 0:
            return pair[0], pair[1]
    return None


def _age_band(dataset: Dataset) -> AgeBand | None:
    age = _text(dataset, "PatientAge")
    if age[:-1].isdecimal() and age[-1] in _YEARS_PER_UNIT:
        return AgeBand.of_years(int(age[:-1]) * _YEARS_PER_UNIT[age[-1]])
    if age.isdecimal():
        return AgeBand.of_years(int(age))
    born, studied = _day(dataset, "PatientBirthDate"), _day(dataset, "StudyDate")
    if born is None or studied is None or studied < born:
        return None
    return AgeBand.of_years((studied - born).days / 365.25)


def _day(dataset: Dataset, keyword: str) -> DA | None:
    try:
        return DA(_text(dataset, keyword)) or None
    except ValueError:
        return None
