"""All packages in one table: what they are worth, what they cost, what they are not for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.models.manifest import Manifest, Metric
from cxrserve.models.package import ModelPackage

_RUNS = 40
_WARM_UP_RUNS = 3
# The figures that lead, of each kind of model; the first that a package has is shown first.
_LEADING = (
    ("auc_without_lungs", "AUC without lungs"),
    ("auc_active_against_latent", "AUC active / latent"),
    ("map_peak_in_box", "map peak in box"),
    ("dice", "Dice"),
)

_FEW = 30
"""With fewer films a share says nothing that fits a table; the card has it."""


def table(packages: list[ModelPackage]) -> Iterator[str]:
    """The rows of the table as Markdown, each package measured on this machine."""
    yield (
        "| package | trained on | figures on the test split (95 % interval) | graphs, MB "
        "| ms a film | not for |"
    )
    yield "|---|---|---|---|---|---|"
    for package in packages:
        manifest = package.manifest
        if manifest.task == "gate":
            continue  # asked by the quality gate, not by name
        cells = (
            f"[`{manifest.name}`](../models/{manifest.name}/MODEL_CARD.md) {manifest.version}",
            manifest.provenance.data,
            "<br>".join(_figures(manifest)),
            "<br>".join(_sizes(package)),
            f"{latency_ms(package):.1f}",
            manifest.limitations[0] if manifest.limitations else "",
        )
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def latency_ms(package: ModelPackage) -> float:
    """Median time of one film on one thread, with the graph that serving chooses."""
    engine = load_onnx_cpu(package)
    side = package.manifest.input.side
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, side, side), np.uint8)
    times = []
    for _ in range(_WARM_UP_RUNS + _RUNS):
        started = time.perf_counter()
        engine.run(pixels)
        times.append(time.perf_counter() - started)
    engine.close()
    return float(np.median(times[_WARM_UP_RUNS:]) * 1e3)


def _figures(manifest: Manifest) -> Iterator[str]:
    for name, words in _LEADING:
        for metric in manifest.metrics:
            if metric.name == name and (metric.images >= _FEW or name == "dice"):
                yield f"{words}, {metric.label}: {_told(metric)}"
    for metric in manifest.metrics:
        own = metric.label in {label.name for label in manifest.labels}
        grouped = metric.split.startswith("test,") and not metric.label.count(" vs ")
        if metric.name == "auc" and not grouped and (not own or len(manifest.labels) == 2):
            split = metric.split.removeprefix("test").removeprefix(", ")
            yield f"AUC, {metric.label}{f' ({split})' if split else ''}: {_told(metric)}"


def _told(metric: Metric) -> str:
    found = metric.interval
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def _sizes(package: ModelPackage) -> Iterator[str]:
    for graph in package.manifest.graphs:
        size = (package.folder / graph.file).stat().st_size / 1e6
        yield f"{graph.precision} {size:.1f}"
