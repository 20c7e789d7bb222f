"""What is served in a benchmark: one network, one graph of it, and the images it is asked about."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

from cxrserve.models.manifest import Manifest
from cxrserve.models.package import MANIFEST, read_package
from cxrserve.radiograph.phantom import draw_phantom

IMAGE_SIDE = 1024
IMAGES = 8
# As `engines/onnx_cpu.py` chooses.
_MOST_EXACT_FIRST = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network ready to be served by anybody.

    Attributes:
        models_dir: a model repository that holds this package, with this graph only, and the gate.
        graph: the ONNX file, inside the package.
        graph_name: what the file was called where it came from.
        task_file: what peers read: graph, side, activation, calibration (JSON).
        images_dir: where `images` lie, in this order by name.
        images: JPEG files of `IMAGE_SIDE` squared phantoms, each another. Unlike those of
            `cxrserve phantom` they do not say so in the file: our gate's network is not run on
            files that do, and would cost nothing.
    """

    model: str
    manifest: Manifest
    models_dir: Path
    graph: Path
    graph_name: str
    precision: str
    sha256: str
    task_file: Path
    images_dir: Path
    images: tuple[bytes, ...]


def prepare(model: str, *, models_dir: Path, folder: Path, graph: Path | None = None) -> Subject:
    """Lay out a subject in `folder`.

    Args:
        model: name of a classifier's package.
        models_dir: where packages are.
        folder: an empty folder, the caller's to delete.
        graph: an ONNX file of this network to serve instead of the package's own.

    Raises:
        BrokenPackage: the package is not what its manifest says.
        ValueError: the model segments, or is no classifier of chest films.
    """
    manifest = read_package(models_dir / model).manifest
    if manifest.task not in ("multi-class", "multi-label"):
        raise ValueError(f"{model} is a {manifest.task} model; the benchmark asks classifiers")
    packages = folder / "models"
    shutil.copytree(models_dir / "gate", packages / "gate")
    shutil.copytree(models_dir / model, packages / model)
    if graph is None:
        # The service takes the most exact one.
        exact = min(manifest.graphs, key=lambda one: _MOST_EXACT_FIRST.index(one.precision))
        graph, precision = models_dir / model / exact.file, exact.precision
    else:
        precision = next((name for name in ("int8", "fp16") if name in graph.name), "fp32")
    served = _hold_only(packages / model, graph, precision)
    images_dir = folder / "images"
    return Subject(
        model=model,
        manifest=manifest,
        models_dir=packages,
        graph=served,
        graph_name=graph.name,
        precision=precision,
        sha256=hashlib.sha256(served.read_bytes()).hexdigest(),
        task_file=_write_task(folder, served, manifest),
        images_dir=images_dir,
        images=_draw(images_dir),
    )


def _hold_only(package: Path, graph: Path, precision: str) -> Path:
    """Make this the package's only graph."""
    data = graph.read_bytes()
    for other in package.glob("*.onnx"):
        other.unlink()
    served = package / "model.onnx"
    served.write_bytes(data)
    said = yaml.safe_load((package / MANIFEST).read_bytes())
    said["graphs"] = [
        {
            "file": served.name,
            "precision": precision,
            "sha256": hashlib.sha256(data).hexdigest(),
            "parity": None,
        }
    ]
    (package / MANIFEST).write_text(yaml.safe_dump(said, sort_keys=False), "utf-8")
    read_package(package)
    return served


def _write_task(folder: Path, graph: Path, manifest: Manifest) -> Path:
    """Calibration becomes one scale and one offset a label: all that a peer has to know of it."""
    count, calibration = len(manifest.labels), manifest.calibration
    scales = calibration.scales or (1.0,) * count
    offsets = calibration.offsets or (0.0,) * count
    trained = [label.trained for label in manifest.labels]
    if manifest.activation == "softmax":
        # A class that nothing trained takes no share of what the others are given.
        offsets = tuple(o if t else -1e9 for o, t in zip(offsets, trained, strict=True))
    task = {
        "graph": str(graph),
        "side": manifest.input.side,
        "activation": manifest.activation,
        "scales": [scale / calibration.temperature for scale in scales],
        "offsets": offsets,
    }
    file = folder / "task.json"
    file.write_text(json.dumps(task), "utf-8")
    return file


def _draw(folder: Path) -> tuple[bytes, ...]:
    folder.mkdir()
    files = [folder / f"phantom-{seed}.jpg" for seed in range(IMAGES)]
    for seed, file in enumerate(files):
        Image.fromarray(draw_phantom(side=IMAGE_SIDE, seed=seed)).save(file, quality=92)
    return tuple(file.read_bytes() for file in files)
