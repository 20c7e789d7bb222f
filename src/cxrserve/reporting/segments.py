"""Masks become segments and measurements."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrserve import answer as answers
from cxrserve.engines.engine import Masks
from cxrserve.findings import lungs as lung_masks
from cxrserve.findings.lungs import LEFT_LUNG, RIGHT_LUNG
from cxrserve.findings.parts import Mask
from cxrserve.models.manifest import Label
from cxrserve.models.preprocess import Placement
from cxrserve.models.repository import LoadedModel
from cxrserve.radiograph.radiograph import Facts, Radiograph
from cxrserve.reporting.reading import placed, tenths


def segmentation_of(
    model: LoadedModel, masks: Masks, radiograph: Radiograph, *, explain: bool
) -> answers.Segmentation:
    """What a segmentation model outlines on one image; the masks themselves with `explain`."""
    where = placed(model, radiograph)
    organs: dict[str, Mask] = {}
    segments = []
    for label, probabilities in zip(model.manifest.labels, masks.mask[0], strict=True):
        organs[label.name] = lung_masks.organ(probabilities)
        picture = _png(probabilities) if explain else None
        segments.append(_segment(label, organs[label.name], where, radiograph.facts, picture))
    measurements: tuple[answers.Measurement, ...] = ()
    if {RIGHT_LUNG, LEFT_LUNG} <= organs.keys():
        measurements = (_cardiothoracic_ratio(model, organs[RIGHT_LUNG], organs[LEFT_LUNG]),)
    return answers.Segmentation(segments=tuple(segments), measurements=measurements)


def _segment(
    label: Label, mask: Mask, where: Placement, facts: Facts, picture: str | None
) -> answers.Segment:
    extent = lung_masks.extent(mask, where)
    area = None
    if facts.spacing_mm is not None:
        area = round(lung_masks.area_cm2(extent.pixels if extent else 0.0, facts.spacing_mm), 1)
    box = None
    if extent is not None:
        edges = tenths(extent.left, extent.top, extent.width, extent.height)
        box = answers.Rectangle(**edges)
    return answers.Segment(
        label=label.name,
        code=label.code,
        area_share=round(extent.share, 5) if extent else 0.0,
        area_cm2=area,
        box=box,
        mask_png=picture,
    )


def _cardiothoracic_ratio(model: LoadedModel, right: Mask, left: Mask) -> answers.Measurement:
    value, ends = None, model.manifest.lung_masks
    if ends == "reach_behind_heart":
        detail = "not given: this model's masks reach behind the heart, the gap is not its width"
    elif ends is None:
        detail = "not given: this model's masks are not known to end at the heart"
    elif (value := lung_masks.cardiothoracic_ratio(right, left)) is None:
        detail = "not given: a lung is missing, or the lungs share no row to measure in"
    else:
        value = round(value, 3)
        detail = (
            "derived from two lung masks: largest gap between them in their lower half, over their "
            "largest outer distance; AP and supine films show the heart larger than it is"
        )
    return answers.Measurement(name="cardiothoracic_ratio", value=value, detail=detail)


def _png(probabilities: NDArray[np.float32]) -> str:
    grey = Image.fromarray(np.rint(probabilities * 255).astype(np.uint8))
    written = io.BytesIO()
    grey.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode("ascii")
