"""What a DICOM header says about its image, without anything that names a patient."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA

from cxrserve.radiograph.radiograph import AgeBand, Facts, Identifiers

_PHANTOM = "PHANTOM^NOT A PATIENT"
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def facts_of(dataset: Dataset, saturation: float) -> Facts:
    """Collect the facts; what is absent or unreadable stays unknown.

    Args:
        dataset: the DICOM header.
        saturation: mean saturation of the decoded image, 0..1.
    """
    return Facts(
        view=_view(dataset),
        laterality=_code(dataset, "ImageLaterality") or _code(dataset, "Laterality"),
        spacing_mm=_spacing(dataset),
        age_band=_age_band(dataset),
        modality=_code(dataset, "Modality"),
        body_part=_code(dataset, "BodyPartExamined"),
        colour=saturation > 0,
        saturation=saturation,
        photometric=_code(dataset, "PhotometricInterpretation") or "",
        bits_stored=int(dataset.get("BitsStored", 0) or dataset.BitsAllocated),
        phantom=str(dataset.get("PatientName", "")) == _PHANTOM,
        identifiers=Identifiers(
            study=str(dataset.get("StudyInstanceUID", "") or ""),
            series=str(dataset.get("SeriesInstanceUID", "") or ""),
            sop_instance=str(dataset.get("SOPInstanceUID", "") or ""),
        ),
    )


def _code(dataset: Dataset, keyword: str) -> str | None:
    # Coded strings come from a list; free text someone typed there is not passed on.
    value = str(dataset.get(keyword, "") or "").strip().upper()
    return value if 0 < len(value) <= 16 else None


def _view(dataset: Dataset) -> str | None:
    position = _code(dataset, "ViewPosition")
    if position:
        return position
    sequence = dataset.get("ViewCodeSequence")
    meaning = str(sequence[0].get("CodeMeaning", "")).lower() if sequence else ""
    if "lateral" in meaning:
        return "LATERAL"
    if "postero" in meaning:
        return "PA"
    return "AP" if "antero" in meaning else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    # At the detector first: Pixel Spacing may be calibrated to something else.
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        pair = dataset.get(keyword)
        if isinstance(pair, MultiValue) and len(pair) == 2:
            down, across = float(pair[0]), float(pair[1])
            if down > 0 and across > 0:
                return down, across
    return None


def _age_band(dataset: Dataset) -> AgeBand | None:
    age = str(dataset.get("PatientAge", "") or "").strip().upper()
    if age[:-1].isdigit() and age[-1] in _YEARS_PER_UNIT:
        return AgeBand.of_years(int(age[:-1]) * _YEARS_PER_UNIT[age[-1]])
    if age.isdigit():
        return AgeBand.of_years(int(age))
    born, studied = _day(dataset, "PatientBirthDate"), _day(dataset, "StudyDate")
    if born is None or studied is None or studied < born:
        return None
    return AgeBand.of_years((studied - born).days / 365.25)


def _day(dataset: Dataset, keyword: str) -> DA | None:
    try:
        return DA(str(dataset.get(keyword, "") or "")) or None
    except ValueError:
        return None
