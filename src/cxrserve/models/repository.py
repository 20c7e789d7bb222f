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
from cxrserve.models.rollout import Rollout

_log = logging.getLogger(__name__)

_NEWEST = Rollout()

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
    def full_name(self) -> str:
        """`name@version`, as requests may name it."""
        return f"{self.manifest.name}@{self.manifest.version}"

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

    Args:
        rollout: which version answers who names none.
    """

    def __init__(
        self, models: list[LoadedModel], left_out: list[LeftOut], rollout: Rollout = _NEWEST
    ) -> None:
        self.rollout = rollout
        self._models: dict[str, list[LoadedModel]] = {}
        for model in models:
            self.add(model)
        self.left_out = tuple(left_out)

    @classmethod
    def load(
        cls, folder: Path, load_engine: EngineLoader, rollout: Rollout = _NEWEST
    ) -> ModelRepository:
        """Load every package below `folder` except gates, which are not asked by name.

        Raises:
            BrokenPackage: a version that `rollout` names could not be loaded.
        """
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
                models.append(loaded(package, load_engine))
                seen.add(key)
            except CxrError as error:
                name = str(place.relative_to(folder))
                _log.error("model package left out: %s: %s", name, error.detail)
                left_out.append(LeftOut(name, error.detail))
        repository = cls(models, left_out, rollout)
        repository._check_rollout()
        return repository

    def add(self, model: LoadedModel) -> LoadedModel | None:
        """Serve a model from now on; what it takes the place of: the same name and version."""
        replaced = self._take_out(model)
        versions = self._models.setdefault(model.manifest.name, [])
        versions.append(model)
        versions.sort(key=_version_order, reverse=True)
        return replaced

    def remove(self, name: str, version: str | None = None) -> list[LoadedModel]:
        """Serve this version no more, or none; what was removed.

        Raises:
            ModelNotFound: it is not loaded.
        """
        gone = [self.get(name, version)] if version else list(self._models.get(name, ()))
        if not gone:
            self.get(name)
        for model in gone:
            self._take_out(model)
        return gone

    def _take_out(self, model: LoadedModel) -> LoadedModel | None:
        name, version = model.manifest.name, model.manifest.version
        versions = self._models.get(name, [])
        found = next((one for one in versions if one.manifest.version == version), None)
        if found is not None:
            versions.remove(found)
            if not versions:
                del self._models[name]
        return found

    def __iter__(self) -> Iterator[LoadedModel]:
        """All models, by name, the newest version of each first."""
        for name in sorted(self._models):
            yield from self._models[name]

    def __contains__(self, model: LoadedModel) -> bool:
        """It is loaded now."""
        return any(one is model for one in self._models.get(model.manifest.name, ()))

    def names(self) -> tuple[str, ...]:
        """Names of the loaded models, sorted."""
        return tuple(sorted(self._models))

    def chosen(self, name: str, key: bytes) -> LoadedModel:
        """As `get`, but for a canary's share of the keys: that version.

        Raises:
            ModelNotFound: it is not loaded.
        """
        if "@" not in name:
            version = self.rollout.canary(name, key)
            for model in self._models.get(name, ()):
                if model.manifest.version == version:
                    return model
        return self.get(name)

    def shadow_of(self, model: LoadedModel, key: bytes) -> LoadedModel | None:
        """The version to be asked as well as this one, if there is one for this key."""
        version = self.rollout.shadow(model.manifest.name, key)
        for other in self._models.get(model.manifest.name, ()):
            if other is not model and other.manifest.version == version:
                return other
        return None

    def share_of(self, model: LoadedModel) -> float:
        """Share of the questions without a version that a version answers."""
        name, version = model.manifest.name, model.manifest.version
        rule = self.rollout.canaries.get(name)
        loaded = {one.manifest.version for one in self._models.get(name, ())}
        canary_share = rule.share if rule is not None and rule.version in loaded else 0.0
        share = 1 - canary_share if self.get(name) is model else 0.0
        if rule is not None and rule.version == version:
            share += canary_share
        return share

    def get(self, name: str, version: str | None = None) -> LoadedModel:
        """The version that answers, or the one asked for; `name@version` works as well.

        Of several the pinned one answers, else the newest that is no canary and no shadow.

        Raises:
            ModelNotFound: it is not loaded.
        """
        name, _, in_name = name.partition("@")
        version = version or in_name or None
        versions = self._models.get(name, [])
        if version is None and versions:
            return self._answering(name, versions)
        for model in versions:
            if model.manifest.version == version:
                return model
        wanted = name if version is None else f"{name} {version}"
        raise ModelNotFound(
            f"no model {wanted!r} is loaded",
            advice="GET /v1/models lists what is",
            loaded=[model.full_name for model in self],
        )

    def _answering(self, name: str, versions: list[LoadedModel]) -> LoadedModel:
        pinned = self.rollout.pinned.get(name)
        for model in versions:
            if model.manifest.version == pinned:
                return model
        for model in versions:
            if not self.rollout.is_held_back(name, model.manifest.version):
                return model
        return versions[0]

    def _check_rollout(self) -> None:
        for name, version in self.rollout.named():
            try:
                self.get(name, version)
            except ModelNotFound as error:
                raise BrokenPackage(
                    f"{name}@{version}, which a setting names, is not loaded",
                    advice="set CXRSERVE_PINNED, CXRSERVE_CANARY and CXRSERVE_SHADOW to what "
                    "is in the models folder",
                ) from error

    def close(self) -> None:
        """Free all engines."""
        for model in self:
            model.engine.close()


def loaded(package: ModelPackage, load_engine: EngineLoader) -> LoadedModel:
    """A package with its engine.

    Raises:
        BrokenPackage: the engine refuses it.
    """
    return LoadedModel(package, load_engine(package), preprocessing_digest(package.manifest.input))


def packages_listed(folder: Path) -> list[str]:
    """Names of the folders below `folder` that hold packages, the gate's not among them."""
    names = (place.relative_to(folder).parts[0] for place in package_folders(folder))
    return [name for name in dict.fromkeys(names) if name != "gate"]


def packages_named(name: str, folder: Path) -> list[ModelPackage]:
    """The packages below `folder` that have this name, the newest last.

    Raises:
        ModelNotFound: there is none.
        BrokenPackage: the one that lies where it should cannot be trusted.
    """
    found: list[ModelPackage] = []
    broken: BrokenPackage | None = None
    for place in package_folders(folder):
        try:
            package = read_package(place)
        except BrokenPackage as error:
            if name in place.relative_to(folder).parts:
                broken = error
            continue
        if package.manifest.name == name and package.manifest.task != "gate":
            found.append(package)
    if broken is not None:
        raise broken
    if not found:
        raise ModelNotFound(f"no package in the models folder is called {name[:64]!r}")
    return found


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
