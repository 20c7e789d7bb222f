"""What one model says of one image."""

from __future__ import annotations

from cxrserve import answer as answers
from cxrserve.engines.engine import Masks, Outputs
from cxrserve.findings import lungs as lung_masks
from cxrserve.findings.boxes import boxes_of, in_image, is_limited_to_lungs
from cxrserve.findings.evidence import evidence_of
from cxrserve.findings.interpret import Finding, check_map, find
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.reporting.image import cautions
from cxrserve.reporting.reading import LungField, Reading, model_used, placed, tenths
from cxrserve.reporting.segments import segmentation_of


def result_of(
    reading: Reading, radiograph: Radiograph, *, explain: bool, lungs: LungField | None = None
) -> answers.Result:
    """What one model says of one image.

    Args:
        reading: what its network gave.
        radiograph: the image it was given for.
        explain: give class maps, boxes and masks.
        lungs: what boxes of lung findings keep to.

    Raises:
        EngineFailure: a class map does not explain its logit.
    """
    outputs = reading.outputs
    findings: tuple[answers.FindingSeen, ...] = ()
    segmentation = None
    if isinstance(outputs, Masks):
        segmentation = segmentation_of(reading.model, outputs, radiograph, explain=explain)
    else:
        if explain:
            check_map(outputs)
        found = find(reading.model.manifest, outputs.logits[0], reading.operating_point)
        findings = tuple(
            _finding_seen(finding, reading, index, radiograph, explain=explain, lungs=lungs)
            for index, finding in enumerate(found)
        )
    limited = any(seen.boxes is not None and is_limited_to_lungs(seen.label) for seen in findings)
    return answers.Result(
        model=model_used(reading.model, reading.engine),
        operating_point=reading.operating_point,
        augment=reading.augment,
        findings=findings,
        segmentation=segmentation,
        boxes_within=lungs.model if lungs and limited else None,
        cautions=cautions(reading.model, radiograph.facts),
    )


def boxes_seen(
    finding: Finding, reading: Reading, index: int, radiograph: Radiograph, lungs: LungField | None
) -> tuple[answers.BoxSeen, ...] | None:
    """Boxes of a finding in pixels of the image that was sent; None if it is not positive."""
    assert isinstance(reading.outputs, Outputs)
    if finding.positive is not True or not reading.model.manifest.labels[index].finding:
        return None
    where = placed(reading.model, radiograph)
    within = None
    if lungs is not None and is_limited_to_lungs(finding.label):
        within = lung_masks.moved(lungs.mask, lungs.where, where)
    evidence = evidence_of(reading.outputs, index, reading.model.manifest.activation)
    boxes = boxes_of(evidence, bias=0.0, side=where.side, lungs=within)
    shown = [inside for box in boxes if (inside := in_image(box, where))]
    return tuple(
        answers.BoxSeen(
            **tenths(box.left, box.top, box.width, box.height), score=round(box.score, 4)
        )
        for box in shown
    )


def heat_map(outputs: Outputs, index: int) -> answers.HeatMap:
    """The class map of one label."""
    grid = outputs.cam[0, index]
    return answers.HeatMap(
        height=grid.shape[0],
        width=grid.shape[1],
        bias=round(float(outputs.bias[index]), 5),
        grid=tuple(tuple(round(float(value), 5) for value in row) for row in grid),
    )


def _finding_seen(
    finding: Finding,
    reading: Reading,
    index: int,
    radiograph: Radiograph,
    *,
    explain: bool,
    lungs: LungField | None,
) -> answers.FindingSeen:
    assert isinstance(reading.outputs, Outputs)
    return answers.FindingSeen(
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        positive=finding.positive,
        code=finding.code,
        boxes=boxes_seen(finding, reading, index, radiograph, lungs) if explain else None,
        heat_map=heat_map(reading.outputs, index) if explain else None,
    )
