"""The models that are loaded, by name and version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrserve.engines.engine import Engine
from cxrserve.errors import BrokenPackage, CxrError, ModelNotFound
from cxrserve.models.manifest import Manifest
from cxrserve.models.package import MANIFEST, ModelPackage, read_package
from cxrserve.models.preprocess import preprocessing_digest

_log = logging.getLogger(__name__)

EngineLoader = Callable[[ModelPackage], Engine]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified package and the engine that runs it."""

    package: ModelPackage
    engine: Engine
    preprocessing: str

    @property
    def manifest(self) -> Manifest:
        """What the package says about itself."""
        return self.package.manifest

    @property
    def segments(self) -> bool:
        """It outlines organs; otherwise it classifies."""
        return self.manifest.task == "segmentation"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A folder that could not be served, and why."""

    folder: str
    reason: str


class ModelRepository:
    """What a folder of packages holds: `NAME/model.yaml`, or `NAME/VERSION/model.yaml` for several.

    A broken package is named in `left_out`; the rest are served.
    """

    def __init__(self, models: list[LoadedModel], left_out: list[LeftOut]) -> None:
        self._models: dict[str, list[LoadedModel]] = {}
        for model in sorted(models, key=_version_order, reverse=True):
            self._models.setdefault(model.manifest.name, []).append(model)
        self.left_out = tuple(left_out)

    @classmethod
    def load(cls, folder: Path, load_engine: EngineLoader) -> ModelRepository:
        """Load every package below `folder` except gates, which are not asked by name."""
        models: list[LoadedModel] = []
        left_out: list[LeftOut] = []
        seen: set[tuple[str, str]] = set()
        for place in package_folders(folder):
            try:
                package = read_package(place)
                if package.manifest.task == "gate":
                    continue
                key = (package.manifest.name, package.manifest.version)
                if key in seen:
                    raise BrokenPackage(f"{key[0]} {key[1]} is there twice")
                models.append(
                    LoadedModel(
                        package, load_engine(package), preprocessing_digest(package.manifest.input)
                    )
                )
                seen.add(key)
            except CxrError as error:
                name = str(place.relative_to(folder))
                _log.error("model package left out: %s: %s", name, error.detail)
                left_out.append(LeftOut(name, error.detail))
        return cls(models, left_out)

    def __iter__(self) -> Iterator[LoadedModel]:
        """All models, by name, the newest version of each first."""
        for name in sorted(self._models):
            yield from self._models[name]

    def names(self) -> tuple[str, ...]:
        """Names of the loaded models, sorted."""
        return tuple(sorted(self._models))

    def get(self, name: str, version: str | None = None) -> LoadedModel:
        """The newest version of a model, or the one asked for; `name@version` works as well.

        Raises:
            ModelNotFound: it is not loaded.
        """
        name, _, in_name = name.partition("@")
        version = version or in_name or None
        for model in self._models.get(name, ()):
            if version is None or model.manifest.version == version:
                return model
        wanted = name if version is None else f"{name} {version}"
        raise ModelNotFound(
            f"no model {wanted!r} is loaded",
            advice="GET /v1/models lists what is",
            loaded=[f"{model.manifest.name}@{model.manifest.version}" for model in self],
        )

    def close(self) -> None:
        """Free all engines."""
        for model in self:
            model.engine.close()


def package_folders(folder: Path) -> Iterator[Path]:
    """Folders that hold, or should hold, a package: one level deep, or two for versions."""
    if not folder.is_dir():
        raise BrokenPackage(
            f"the models folder {folder} does not exist", advice="set CXRSERVE_MODELS_DIR"
        )
    for place in sorted(entry for entry in folder.iterdir() if _is_visible_folder(entry)):
        versions = [entry for entry in sorted(place.iterdir()) if (entry / MANIFEST).is_file()]
        if versions:
            yield from versions
        if (place / MANIFEST).is_file() or not versions:
            yield place


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "_"))


def _version_order(model: LoadedModel) -> tuple[int, ...]:
    return tuple(int(part) for part in model.manifest.version.split("."))
