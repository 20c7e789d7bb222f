"""What `/v1/models` shows of the loaded models."""

from __future__ import annotations

from pydantic import BaseModel

from cxrserve.batching.model_queue import ModelQueue
from cxrserve.models.manifest import Manifest
from cxrserve.models.repository import LoadedModel, ModelRepository


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
    """What a batch takes on this machine, by its size, measured and kept true by what runs.

    `drift`: how much longer every batch takes now than when it was measured. `waiting`: requests.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    drift: float
    waiting: int
    images: int


class ModelDetail(BaseModel):
    """All that a package says about itself, and what its batches take here.

    `card` is Markdown; its pictures are at `/v1/models/{name}/plots/{file}`, `plots` names them.
    """

    digest: str
    engine: str
    preprocessing: str
    manifest: Manifest
    card: str
    plots: tuple[str, ...]
    latency: Latency


def list_of(repository: ModelRepository) -> ModelList:
    """The repository as a list."""
    return ModelList(
        models=tuple(
            ModelSummary(
                name=model.manifest.name,
                version=model.manifest.version,
                task=model.manifest.task,
                labels=tuple(label.name for label in model.manifest.labels),
                digest=model.package.digest,
                engine=model.engine.name,
                description=model.manifest.description,
            )
            for model in repository
        ),
        left_out=tuple(
            PackageLeftOut(folder=one.folder, reason=one.reason) for one in repository.left_out
        ),
    )


def detail_of(model: LoadedModel, queue: ModelQueue) -> ModelDetail:
    """One model, whole, and the queue in front of it."""
    table = queue.table
    return ModelDetail(
        digest=model.package.digest,
        engine=model.engine.name,
        preprocessing=model.preprocessing,
        manifest=model.manifest,
        card=model.package.card(),
        plots=model.package.plots(),
        latency=Latency(
            sizes=table.sizes,
            seconds=tuple(round(table.seconds(size), 6) for size in table.sizes),
            drift=round(table.drift, 3),
            waiting=len(queue),
            images=queue.statistics.images,
        ),
    )
