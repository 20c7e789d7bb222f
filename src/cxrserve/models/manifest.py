"""`model.yaml`: what a model package says about itself, checked at the border by pydantic."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){0,2}$")]
Share = Annotated[float, Field(ge=0, le=1)]

# Sums of shares that were rounded to six digits differ from 1 by less.
_ROUNDED = 1e-4


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Code(_Part):
    """A coded concept, e.g. SNOMED CT 233604007 |Pneumonia|."""

    system: Literal["SCT", "DCM", "RADLEX"]
    value: str
    meaning: str


class Label(_Part):
    """One output of the network.

    `trained` is false for a class that no trustworthy data trained: it is answered with null.
    `finding` is false for a class that says nothing was found (`normal`).
    """

    name: Annotated[str, Field(min_length=1)]
    code: Code | None = None
    finding: bool = True
    trained: bool = True


class Input(_Part):
    """How a radiograph becomes the network's `pixels` (uint8 `[N, 1, side, side]`).

    `fit`: `stretch` ignores the aspect ratio, `pad` keeps it on black, `crop` takes the centre.
    """

    side: Annotated[int, Field(ge=32, le=2048)]
    fit: Literal["stretch", "pad", "crop"] = "stretch"


class Calibration(_Part):
    """What is done to logits before the activation.

    `temperature`: logit / temperature (Guo et al. 2017). `platt`: scale * logit + offset, a pair
    for each label in their order (Platt 1999).
    """

    method: Literal["none", "temperature", "platt"] = "none"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    scales: tuple[Annotated[float, Field(ge=0)], ...] = ()
    offsets: tuple[float, ...] = ()


class Graph(_Part):
    """One ONNX file of the package.

    `parity` is the largest absolute difference of a logit to the fp32 reference, seen at
    export; null where it was not measured.
    """

    file: str
    precision: Literal["fp32", "fp16", "int8"]
    sha256: Sha256
    parity: Annotated[float, Field(ge=0)] | None = None

    @field_validator("file")
    @classmethod
    def _stays_inside_the_package(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or len(path.parts) != 1 or path.name in ("", ".", ".."):
            raise ValueError(f"{file!r} must be a plain file name inside the package")
        return file


class Interval(_Part):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Metric(_Part):
    """One figure of merit: `name` of what, for which `label`, on which `split` of which data."""

    name: str
    label: str
    split: str
    interval: Interval
    images: int
    operating_point: str | None = None


class ReferenceLabel(_Part):
    """How the calibrated probabilities of one label lie on the reference's films.

    `shares` are of the films in each bin of the population stability index. `edges` part the bins:
    the first lies below the first edge, and a probability that equals an edge lies above it.
    `tenths` are the shares up to and including 0.1, 0.2 … 1. `positive_rate` is at the default
    operating point; null for a label without a threshold there.
    """

    edges: tuple[Share, ...]
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(max_length=100)]
    tenths: Annotated[tuple[Share, ...], Field(min_length=10, max_length=10)]
    positive_rate: Share | None
    mean: Share

    @model_validator(mode="after")
    def _is_a_distribution(self) -> ReferenceLabel:
        if any(upper <= lower for lower, upper in pairwise(self.edges)):
            raise ValueError(f"edges do not rise: {self.edges}")
        if len(self.shares) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges part {len(self.edges) + 1} bins")
        for name, shares in (("shares", self.shares), ("tenths", self.tenths)):
            if abs(sum(shares) - 1) > _ROUNDED:
                raise ValueError(f"{name} sum up to {sum(shares):.6g}, not 1")
        return self


class Reference(_Part):
    """What the probabilities of a classifier look like where nothing has drifted.

    `films`: `val`, those of the training data that training held out; `own`, those of the place
    that serves the model. `images` were read, as serving reads them; labels that nothing trained
    are left out.
    """

    films: Literal["val", "own"]
    images: Annotated[int, Field(ge=1)]
    labels: Annotated[dict[str, ReferenceLabel], Field(min_length=1)]


class Provenance(_Part):
    """What made the network: data, recipe and code, by digest where there is a file."""

    data: str
    population: str
    data_manifest_sha256: Sha256 | None = None
    recipe_sha256: Sha256 | None = None
    weights_sha256: Sha256 | None = None
    code_version: str
    seed: int | None = None


class Manifest(_Part):
    """The whole of `model.yaml` (design decision 2).

    `lung_masks` says where lung masks end towards the middle; without `end_at_heart` the gap
    between them is no heart, and no cardiothoracic ratio is given.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    task: Literal["multi-class", "multi-label", "segmentation", "gate"]
    description: str
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    input: Input
    activation: Literal["softmax", "sigmoid"]
    calibration: Calibration = Calibration()
    operating_points: dict[str, dict[str, float]] = Field(default_factory=dict)
    default_operating_point: str | None = None
    age_bands: tuple[str, ...] = ()
    lung_masks: Literal["end_at_heart", "reach_behind_heart"] | None = None
    graphs: Annotated[tuple[Graph, ...], Field(min_length=1)]
    files: dict[str, Sha256] = Field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    reference: Reference | None = None
    provenance: Provenance
    licence: str
    intended_use: str
    limitations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Manifest:
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError(f"labels repeat: {names}")
        for point, thresholds in self.operating_points.items():
            unknown = set(thresholds) - set(names)
            if unknown:
                raise ValueError(
                    f"operating point {point!r} names unknown labels {sorted(unknown)}"
                )
            wrong = {k: v for k, v in thresholds.items() if not 0 <= v <= 1}
            if wrong:
                raise ValueError(f"operating point {point!r} has thresholds outside 0..1: {wrong}")
        for line in (self.calibration.scales, self.calibration.offsets):
            if len(line) != (len(names) if self.calibration.method == "platt" else 0):
                raise ValueError("calibration needs a scale and an offset a label, or neither")
        if self.reference is not None and (unknown := set(self.reference.labels) - set(names)):
            raise ValueError(f"the reference names unknown labels {sorted(unknown)}")
        default = self.default_operating_point
        if default is not None and default not in self.operating_points:
            raise ValueError(
                f"default operating point {default!r} is not among the operating points"
            )
        if len({graph.precision for graph in self.graphs}) != len(self.graphs):
            raise ValueError("each precision may name one graph only")
        return self
