"""What is known travels along, and nothing that names a patient does."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from cxrserve.errors import CxrError
from cxrserve.radiograph.radiograph import AgeBand
from tests.radiograph.dicom_files import dicom, encoded, ramp, read

_CANARY = "Zyxwvut"


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "ll"}, "LL"),
        ({"ViewPosition": ""}, None),
        ({}, None),
    ],
)
def test_the_view_is_read(elements: dict[str, Any], view: str | None) -> None:
    assert read(dicom(ramp(), **elements)).facts.view == view


@pytest.mark.parametrize(
    ("meaning", "view"),
    [("postero-anterior", "PA"), ("antero-posterior", "AP"), ("left lateral", "LATERAL")],
)
def test_a_coded_view_is_read(meaning: str, view: str) -> None:
    code = Dataset()
    code.CodeMeaning = meaning
    assert read(dicom(ramp(), ViewCodeSequence=[code])).facts.view == view


@pytest.mark.parametrize(
    ("elements", "band"),
    [
        ({"PatientAge": "062Y"}, AgeBand.ADULT),
        ({"PatientAge": "006M"}, AgeBand.INFANT),
        ({"PatientAge": "003W"}, AgeBand.INFANT),
        ({"PatientAge": "900D"}, AgeBand.CHILD),
        ({"PatientAge": "016Y"}, AgeBand.ADOLESCENT),
        ({"PatientAge": "65"}, AgeBand.SENIOR),
        ({"PatientBirthDate": "20100301", "StudyDate": "20150301"}, AgeBand.CHILD),
        ({"PatientBirthDate": "20100301", "StudyDate": "20010301"}, None),
        ({"PatientBirthDate": "unknown"}, None),
        ({"PatientAge": "old"}, None),
        ({}, None),
    ],
)
def test_the_age_is_a_band(elements: dict[str, Any], band: AgeBand | None) -> None:
    assert read(dicom(ramp(), **elements)).facts.age_band == band


def test_spacing_at_the_detector_comes_first() -> None:
    facts = read(dicom(ramp(), ImagerPixelSpacing=[0.2, 0.2], PixelSpacing=[0.1, 0.1])).facts
    assert facts.spacing_mm == (0.2, 0.2)
    assert read(dicom(ramp(), PixelSpacing=[0, 0])).facts.spacing_mm is None


def test_uids_laterality_and_intent_are_kept() -> None:
    dataset = dicom(ramp(), ImageLaterality="L", PresentationIntentType="FOR PROCESSING")
    radiograph = read(dataset)
    assert radiograph.facts.identifiers.sop_instance == dataset.SOPInstanceUID
    assert radiograph.facts.laterality == "L"
    assert "for_processing" in radiograph.remarks


def test_nothing_that_names_a_patient_leaves_the_reader() -> None:
    dataset = dicom(ramp())
    for keyword in (
        "PatientName",
        "PatientID",
        "ReferringPhysicianName",
        "InstitutionName",
        "StudyDescription",
        "PatientComments",
        "AccessionNumber",
        "OperatorsName",
    ):
        setattr(dataset, keyword, _CANARY)
    dataset.ViewPosition = f"{_CANARY} said PA to Dr Who"
    data = encoded(dataset)
    assert _CANARY not in repr(read(data))
    for place in range(100, len(data), 97):
        for broken in (data[:place], data[:place] + b"\xff\x13" + data[place + 2 :]):
            try:
                seen = repr(read(broken))
            except CxrError as error:
                seen = f"{error.detail}{error.advice}{dict(error.facts)}"
            assert _CANARY not in seen
