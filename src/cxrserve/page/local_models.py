"""The networks that the page can run on the user's own device, without the service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage, read_package
from cxrserve.models.preprocess import preprocessing_digest

NAMES = ("tb-mobilenetv2", "chexml-resnet50")
GATE = "gate"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A package, and the one of its graphs that travels to the device: the smallest."""

    package: ModelPackage
    graph: Graph

    @property
    def address(self) -> str:
        """Where its graph is asked for, below the page; the digest is part of it."""
        return f"models/{self.package.manifest.name}/{self.graph.sha256}.onnx"

    def described(self) -> dict[str, Any]:
        """What the page must know of it; figures and provenance stay with the service."""
        manifest = self.package.manifest
        kept = {"name", "version", "task", "labels", "input", "activation", "calibration"}
        kept |= {"operating_points", "default_operating_point", "age_bands", "description"}
        return {
            **manifest.model_dump(mode="json", include=kept),
            "digest": self.package.digest,
            "preprocessing": preprocessing_digest(manifest.input),
            "graph": {
                "address": self.address,
                "precision": self.graph.precision,
                "sha256": self.graph.sha256,
                "bytes": (self.package.folder / self.graph.file).stat().st_size,
            },
        }


def local_models(models_dir: Path, names: Iterable[str] = (*NAMES, GATE)) -> dict[str, LocalModel]:
    """Those of `names` whose packages are here and sound, by address."""
    found = {}
    for name in names:
        folder = models_dir / name
        if not folder.is_dir():
            continue
        try:
            package = read_package(folder)
        except BrokenPackage:
            continue  # /v1/models says why
        graph = min(package.manifest.graphs, key=lambda one: (folder / one.file).stat().st_size)
        model = LocalModel(package, graph)
        found[model.address] = model
    return found
