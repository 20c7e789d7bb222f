"""What one model gave for one image, before it is put into an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrserve import answer as answers
from cxrserve.engines.engine import Masks, Outputs
from cxrserve.findings import lungs as lung_masks
from cxrserve.findings.parts import Mask
from cxrserve.models.preprocess import Placement, placement
from cxrserve.models.repository import LoadedModel
from cxrserve.radiograph.radiograph import Radiograph


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one model gave for one image.

    Attributes:
        model: which.
        operating_point: what its findings are held against.
        outputs: of its network.
        engine: what ran it.
        augment: `mirror` where they are the mean of the film's and its mirror image's.
    """

    model: LoadedModel
    operating_point: str | None
    outputs: Outputs | Masks
    engine: str
    augment: Literal["mirror"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LungField:
    """Where the lungs are, as the square of `model`'s network has them (bool `[h, w]`)."""

    mask: Mask
    where: Placement
    model: str


def lung_field(reading: Reading, radiograph: Radiograph) -> LungField | None:
    """The lungs as a segmentation model outlines them; None where it is not sure of both."""
    manifest, outputs = reading.model.manifest, reading.outputs
    assert isinstance(outputs, Masks)
    mask = lung_masks.lungs_to_keep_to(outputs, tuple(label.name for label in manifest.labels))
    if mask is None:
        return None
    return LungField(
        mask=mask,
        where=placed(reading.model, radiograph),
        model=f"{manifest.name}@{manifest.version}",
    )


def placed(model: LoadedModel, radiograph: Radiograph) -> Placement:
    """Where the image that was sent lies in a model's square."""
    height, width = radiograph.pixels.shape
    return placement(
        (height, width),
        model.manifest.input,
        width=radiograph.width,
        height=radiograph.height,
    )


def model_used(model: LoadedModel, engine: str) -> answers.ModelUsed:
    """Exactly what made a result; `engine` ran the network."""
    return answers.ModelUsed(
        name=model.manifest.name,
        version=model.manifest.version,
        digest=model.package.digest,
        engine=engine,
        preprocessing=model.preprocessing,
    )


def tenths(left: float, top: float, width: float, height: float) -> dict[str, float]:
    """A rectangle to a tenth of a pixel; edges are rounded, so that it stays inside the image."""
    first, upper = round(left, 1), round(top, 1)
    return {
        "left": first,
        "top": upper,
        "width": round(round(left + width, 1) - first, 1),
        "height": round(round(top + height, 1) - upper, 1),
    }
