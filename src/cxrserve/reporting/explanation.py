"""Why one label of one model got its probability: in figures, and as a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.engines.engine import Outputs
from cxrserve.findings.boxes import is_limited_to_lungs
from cxrserve.findings.evidence import evidence_of
from cxrserve.findings.interpret import Finding, check_map, find
from cxrserve.findings.overlay import Caption, draw_overlay
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.reporting.image import cautions
from cxrserve.reporting.reading import LungField, Reading, model_used, placed
from cxrserve.reporting.result import boxes_seen, heat_map


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One label of one reading."""

    reading: Reading
    outputs: Outputs
    index: int
    finding: Finding


def explained(reading: Reading, label: str) -> Explained:
    """Take one label of a classifier's reading.

    Raises:
        EngineFailure: its class map does not explain its logit.
    """
    outputs, manifest = reading.outputs, reading.model.manifest
    assert isinstance(outputs, Outputs)
    check_map(outputs)
    index = [one.name for one in manifest.labels].index(label)
    finding = find(manifest, outputs.logits[0], reading.operating_point)[index]
    return Explained(reading=reading, outputs=outputs, index=index, finding=finding)


def explanation_of(
    one: Explained,
    radiograph: Radiograph,
    *,
    request_id: str,
    image: answers.ImageSeen,
    lungs: LungField | None,
    timings_ms: answers.Timings,
) -> answers.Explanation:
    """The explanation in figures."""
    reading, finding = one.reading, one.finding
    boxes = boxes_seen(finding, reading, one.index, radiograph, lungs)
    limited = lungs is not None and boxes is not None and is_limited_to_lungs(finding.label)
    given = heat_map(one.outputs, one.index)
    return answers.Explanation(
        id=request_id,
        image=image,
        model=model_used(reading.model, reading.engine),
        operating_point=reading.operating_point,
        augment=reading.augment,
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        positive=finding.positive,
        logit=round(float(one.outputs.logits[0, one.index]), 5),
        bias=given.bias,
        height=given.height,
        width=given.width,
        grid=given.grid,
        boxes=boxes,
        boxes_within=lungs.model if lungs and limited else None,
        cautions=cautions(reading.model, radiograph.facts),
        timings_ms=timings_ms,
    )


def picture_of(one: Explained, radiograph: Radiograph, shown: NDArray[np.uint8]) -> bytes:
    """The explanation as a PNG, drawn over the film as it is shown (see `overlay.as_shown`)."""
    manifest = one.reading.model.manifest
    evidence = evidence_of(one.outputs, one.index, manifest.activation)
    height, width = evidence.shape
    caption = Caption(
        label=one.finding.label,
        probability=one.finding.probability,
        model=f"{manifest.name} {manifest.version}",
        shape=(height, width),
        note="mean with the mirror image" if one.reading.augment else "",
    )
    return draw_overlay(shown, evidence, placed(one.reading.model, radiograph), caption)
