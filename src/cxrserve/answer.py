"""What a caller gets back. The field names are the public contract (design)."""

from __future__ import annotations

from typing import Annotated

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


class FindingSeen(_Part):
    """One label of one model."""

    label: str = Field(examples=["pneumonia"])
    probability: Annotated[float, Field(ge=0, le=1)] | None
    threshold: float | None = None
    positive: bool | None = None
    code: Code | None = None
    boxes: None = Field(None, description="null: boxes are not computed by this version")
    heat_map: HeatMap | None = None


class ModelUsed(_Part):
    """Exactly what made a result."""

    name: str = Field(examples=["pneumonia-mobilenetv2"])
    version: str = Field(examples=["1.0.0"])
    digest: str = Field(examples=["sha256:…"])
    engine: str = Field(examples=["onnxruntime-cpu-fp32"])
    preprocessing: str


class Result(_Part):
    """What one model says. `cautions` are doubts about this model on this image."""

    model: ModelUsed
    operating_point: str | None
    findings: tuple[FindingSeen, ...]
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
