"""What a caller gets back. The field names are the public contract (design)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cxrserve.models.manifest import Code

NOTICE = (
    "Research use only. Not a medical device; not for diagnosis. "
    "A qualified person must read the radiograph."
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Remark(_Part):
    """Something noticed about the image: a stable code, and a sentence for people."""

    code: str = Field(examples=["phantom"])
    detail: str = Field(examples=["the pixels look like a drawn phantom, not a patient"])


class ImageUids(_Part):
    """DICOM UIDs of the image, so that an answer can be held against its question."""

    study: str = ""
    series: str = ""
    sop_instance: str = ""


class ImageSeen(_Part):
    """The image that was read.

    `sha256` is of the decoded pixels, the same for every lossless coding of one image. `reasons`
    are why it would have been refused without `force=true`.
    """

    sha256: str
    format: str = Field(examples=["image/png"])
    width: int
    height: int
    view: str | None = Field(None, description="DICOM View Position", examples=["PA"])
    laterality: str | None = None
    spacing_mm: tuple[float, float] | None = None
    age_band: str | None = Field(None, examples=["18-64"])
    uids: ImageUids | None = None
    warnings: tuple[Remark, ...] = ()
    reasons: tuple[Remark, ...] = ()


class HeatMap(_Part):
    """A class activation map, `height` rows of `width` values in logits; coarse by nature.

    The mean of `grid` plus `bias` is the logit of its label.
    """

    height: int
    width: int
    bias: float
    grid: tuple[tuple[float, ...], ...]


class BoxSeen(_Part):
    """A rectangle in pixels of the image that was sent, and how strong the evidence in it is.

    `score` is the mean of sigmoid(class map + bias) inside: 0..1, not calibrated.
    """

    left: float
    top: float
    width: float
    height: float
    score: Annotated[float, Field(ge=0, le=1)]


class FindingSeen(_Part):
    """One label of one model."""

    label: str = Field(examples=["pneumonia"])
    probability: Annotated[float, Field(ge=0, le=1)] | None
    threshold: float | None = None
    positive: bool | None = None
    code: Code | None = None
    boxes: tuple[BoxSeen, ...] | None = Field(
        None, description="null: not asked for (`explain=true`), or the finding is not positive"
    )
    heat_map: HeatMap | None = None


class ModelUsed(_Part):
    """Exactly what made a result."""

    name: str = Field(examples=["triage"])
    version: str = Field(examples=["1.0.0"])
    digest: str = Field(examples=["sha256:…"])
    engine: str = Field(examples=["onnxruntime-cpu-fp32"])
    preprocessing: str


class Rectangle(_Part):
    """A rectangle in pixels of the image that was sent."""

    left: float
    top: float
    width: float
    height: float


class Segment(_Part):
    """One label of a segmentation model: how much of the image it covers, and where."""

    label: str = Field(examples=["right_lung"])
    code: Code | None = None
    area_share: Annotated[float, Field(ge=0, le=1)] = Field(description="of the image")
    area_cm2: float | None = Field(None, description="at the detector; null without DICOM spacing")
    box: Rectangle | None = Field(None, description="null where nothing was found")
    mask_png: str | None = Field(
        None,
        description="with `explain=true`: base64 of a grey PNG, probability times 255, at the "
        "network's resolution; 128 and more is inside",
    )


class Measurement(_Part):
    """A figure that was derived from masks, not measured by a reader; null with the reason."""

    name: str = Field(examples=["cardiothoracic_ratio"])
    value: float | None
    derived: Literal[True] = True
    detail: str


class Segmentation(_Part):
    """What a segmentation model outlines."""

    segments: tuple[Segment, ...]
    measurements: tuple[Measurement, ...]


class Result(_Part):
    """What one model says. `cautions` are doubts about this model on this image.

    `boxes_within` names the model whose lung masks boxes of lung findings keep to.
    """

    model: ModelUsed
    operating_point: str | None
    augment: Literal["mirror"] | None = None
    findings: tuple[FindingSeen, ...]
    segmentation: Segmentation | None = None
    boxes_within: str | None = Field(None, examples=["lungs-unet@1.0.0"])
    cautions: tuple[Remark, ...] = ()


class Timings(_Part):
    """Milliseconds: reading and checking the image; waiting; computing (the longest model); all."""

    decode: float
    queue: float
    inference: float
    total: float


class Answer(_Part):
    """The answer to one image."""

    id: str
    image: ImageSeen
    results: tuple[Result, ...]
    timings_ms: Timings
    notice: str = NOTICE


class Explanation(_Part):
    """Why one label of one model got its probability: its class map, and boxes if it is positive.

    The mean of `grid` plus `bias` is `logit`.
    """

    id: str
    image: ImageSeen
    model: ModelUsed
    operating_point: str | None
    augment: Literal["mirror"] | None = None
    label: str = Field(examples=["pneumonia"])
    probability: Annotated[float, Field(ge=0, le=1)] | None
    threshold: float | None
    positive: bool | None
    logit: float
    bias: float
    height: int
    width: int
    grid: tuple[tuple[float, ...], ...]
    boxes: tuple[BoxSeen, ...] | None = Field(None, description="null: the finding is not positive")
    boxes_within: str | None = Field(None, examples=["lungs-unet@1.0.0"])
    cautions: tuple[Remark, ...] = ()
    timings_ms: Timings
    notice: str = NOTICE
