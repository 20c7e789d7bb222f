"""What `/v1/models` shows of the loaded models."""

from __future__ import annotations

from cxrserve.batching.model_queue import ModelQueue
from cxrserve.model_listing import Latency, ModelDetail, ModelList, ModelSummary, PackageLeftOut
from cxrserve.models.repository import LoadedModel, ModelRepository


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
