"""Codes of findings, by the names that public chest radiograph data sets give them.

Only concepts that DICOM PS3.16, an artefact of HL7, OMOP or MedDRA, or a published study uses for
that finding. Where nothing of that kind is known there is no code: pleural thickening, hiatal
hernia, fracture and opacity among them.
"""

from __future__ import annotations

from cxrserve.models.manifest import Code

_CODES = {
    "atelectasis": Code(system="SCT", value="46621007", meaning="Atelectasis"),
    "cardiomegaly": Code(system="SCT", value="8186001", meaning="Cardiomegaly"),
    "consolidation": Code(system="SCT", value="95436008", meaning="Lung consolidation"),
    "edema": Code(system="SCT", value="19242006", meaning="Pulmonary edema"),
    "effusion": Code(system="SCT", value="60046008", meaning="Pleural effusion"),
    "emphysema": Code(system="SCT", value="87433001", meaning="Pulmonary emphysema"),
    "fibrosis": Code(system="SCT", value="51615001", meaning="Fibrosis of lung"),
    "infiltration": Code(system="DCM", value="112121", meaning="Infiltrate"),
    "mass": Code(system="SCT", value="309529002", meaning="Lung mass"),
    "nodule": Code(system="SCT", value="27925004", meaning="Nodule"),
    "pneumonia": Code(system="SCT", value="233604007", meaning="Pneumonia"),
    "pneumothorax": Code(system="SCT", value="36118008", meaning="Pneumothorax"),
    "tuberculosis": Code(system="SCT", value="154283005", meaning="Pulmonary tuberculosis"),
    "normal": Code(system="SCT", value="17621005", meaning="Normal"),
}
# CheXpert's name.
_CODES["pleural effusion"] = _CODES["effusion"]


def code_of(label: str) -> Code | None:
    """The code of a label, whatever its case and with `_` for blanks; None where none is sure."""
    return _CODES.get(label.replace("_", " ").strip().lower())
