"""A model package: a folder with `model.yaml`, graphs and a card, checked against its digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Graph, Manifest

MANIFEST = "model.yaml"
_LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose files are what `model.yaml` says.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        digest: sha256 of `model.yaml`, which holds the digest of every other file; answers
            carry it as `sha256:…`.
    """

    folder: Path
    manifest: Manifest
    digest: str

    def graph(self, precision: str) -> Graph:
        """The graph of one precision.

        Raises:
            BrokenPackage: there is none.
        """
        for graph in self.manifest.graphs:
            if graph.precision == precision:
                return graph
        raise BrokenPackage(f"{self.manifest.name} has no {precision} graph")

    def graph_bytes(self, graph: Graph) -> bytes:
        """Read a graph, and check once more that these very bytes have its digest."""
        data = (self.folder / graph.file).read_bytes()
        _check_digest(self.manifest.name, graph.file, data, graph.sha256)
        return data

    def plots(self) -> tuple[str, ...]:
        """Names of the package's PNG files: curves of its figures."""
        return tuple(name for name in self.manifest.files if name.endswith(".png"))

    def plot(self, name: str) -> bytes:
        """The bytes of one of `plots`, with the digest that `model.yaml` gives."""
        data = _inside(self.folder, name).read_bytes()
        _check_digest(self.manifest.name, name, data, self.manifest.files[name])
        return data

    def card(self) -> str:
        """The model card, as Markdown; empty if there is none."""
        card = self.folder / "MODEL_CARD.md"
        return card.read_text("utf-8") if card.is_file() else ""


def read_package(folder: Path) -> ModelPackage:
    """Read and verify a package.

    Raises:
        BrokenPackage: no or wrong `model.yaml`, a file is missing or its digest differs.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise BrokenPackage(
                f"{folder.name}: {MANIFEST} is larger than {_LARGEST_MANIFEST} bytes"
            )
        text = path.read_bytes()
        manifest = Manifest.model_validate(yaml.safe_load(text))
        package = ModelPackage(folder, manifest, f"sha256:{hashlib.sha256(text).hexdigest()}")
        for graph in manifest.graphs:
            package.graph_bytes(graph)
        for name, digest in manifest.files.items():
            _check_digest(manifest.name, name, _inside(folder, name).read_bytes(), digest)
    except OSError as error:
        raise BrokenPackage(
            f"{folder.name}: cannot read {error.filename}: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise BrokenPackage(f"{folder.name}: {MANIFEST} is not YAML: {error}") from error
    except ValidationError as error:
        raise BrokenPackage(f"{folder.name}: {_first_fault(error)}") from error
    return package


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BrokenPackage(f"{folder.name}: {name!r} lies outside the package")
    return path


def _check_digest(model: str, name: str, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise BrokenPackage(
            f"{model}: {name} has sha256 {found[:16]}…, {MANIFEST} says {expected[:16]}…",
            advice="restore the package, or export it again",
        )


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{MANIFEST}: {place}: {first['msg']} ({error.error_count()} faults)"
