"""What `/v1/models` shows of the loaded models."""

from __future__ import annotations

from pydantic import BaseModel

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


class ModelDetail(BaseModel):
    """All that a package says about itself.

    `card` is Markdown; its pictures are at `/v1/models/{name}/plots/{file}`, `plots` names them.
    """

    digest: str
    engine: str
    preprocessing: str
    manifest: Manifest
    card: str
    plots: tuple[str, ...]


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


def detail_of(model: LoadedModel) -> ModelDetail:
    """One model, whole."""
    return ModelDetail(
        digest=model.package.digest,
        engine=model.engine.name,
        preprocessing=model.preprocessing,
        manifest=model.manifest,
        card=model.package.card(),
        plots=model.package.plots(),
    )
