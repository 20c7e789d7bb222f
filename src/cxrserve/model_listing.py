"""What `/v1/models` answers; imported by the client too, so nothing of the engines is here."""

from __future__ import annotations

from pydantic import BaseModel

from cxrserve.models.manifest import Manifest


class ModelSummary(BaseModel):
    """One loaded model in a line."""

    name: str
    version: str
    task: str
    labels: tuple[str, ...]
    digest: str
    engine: str
    description: str


class PackageLeftOut(BaseModel):
    """A package that could not be loaded, and why."""

    folder: str
    reason: str


class ModelList(BaseModel):
    """All loaded models, and the packages that were left out."""

    models: tuple[ModelSummary, ...]
    left_out: tuple[PackageLeftOut, ...]


class Latency(BaseModel):
    """What a batch takes where the service runs, by its size, kept true by what runs.

    `drift`: how much longer every batch takes now than when it was measured. `waiting`: requests.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    drift: float
    waiting: int
    images: int


class ModelDetail(BaseModel):
    """All that a package says about itself, and what its batches take.

    `card` is Markdown; its pictures are at `/v1/models/{name}/plots/{file}`, `plots` names them.
    """

    digest: str
    engine: str
    preprocessing: str
    manifest: Manifest
    card: str
    plots: tuple[str, ...]
    latency: Latency
