"""The image that was read, and doubts about a model on it."""

from __future__ import annotations

from cxrserve import answer as answers
from cxrserve.models.repository import LoadedModel
from cxrserve.radiograph.gate import Remark
from cxrserve.radiograph.radiograph import Facts, Radiograph

_READING_REMARKS = {
    "content_type_mismatch": "the Content-Type names another kind of file than was sent",
    "further_pictures_ignored": "the file holds further pictures; the first was read",
    "trailing_bytes_ignored": "bytes behind the image's end were ignored",
    "no_window": "the file names no window; it was shown from its lowest to its highest value",
    "for_processing": "the file is marked FOR PROCESSING: it was not made to be looked at",
}


def image_seen(radiograph: Radiograph, remarks: tuple[Remark, ...]) -> answers.ImageSeen:
    """The image that was read, and what reader and gate remarked on it."""
    facts = radiograph.facts
    uids = facts.identifiers
    warnings = [_remark(remark) for remark in remarks if not remark.refuses]
    warnings += [
        answers.Remark(code=code, detail=_READING_REMARKS.get(code, code))
        for code in radiograph.remarks
    ]
    return answers.ImageSeen(
        sha256=radiograph.sha256,
        format=radiograph.format.value,
        width=radiograph.width,
        height=radiograph.height,
        view=facts.view,
        laterality=facts.laterality,
        spacing_mm=facts.spacing_mm,
        age_band=facts.age_band.value if facts.age_band else None,
        uids=answers.ImageUids(study=uids.study, series=uids.series, sop_instance=uids.sop_instance)
        if uids.sop_instance
        else None,
        warnings=tuple(warnings),
        reasons=tuple(_remark(remark) for remark in remarks if remark.refuses),
    )


def cautions(model: LoadedModel, facts: Facts) -> tuple[answers.Remark, ...]:
    """Doubts about this model on this image."""
    trained_on = model.manifest.age_bands
    if not trained_on or (facts.age_band and facts.age_band.value in trained_on):
        return ()
    known = f"{facts.age_band.value} years" if facts.age_band else "not known"
    detail = (
        f"this model was trained on patients of {' and '.join(trained_on)} years; "
        f"this patient's age is {known}"
    )
    code = "outside_training_population" if facts.age_band else "age_unknown"
    return (answers.Remark(code=code, detail=detail),)


def _remark(remark: Remark) -> answers.Remark:
    return answers.Remark(code=remark.code, detail=remark.detail)
