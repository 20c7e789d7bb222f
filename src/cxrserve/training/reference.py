"""The reference of a package: how its probabilities lie on films where nothing has drifted.

The films are read by the code that serves them. What the reference is for: `docs/drift.md`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.errors import (
    BadRequest,
    CxrError,
    NotReadableAsChest,
    UnreadableImage,
    UnsupportedUpload,
    UploadTooLarge,
)
from cxrserve.findings.interpret import Finding, find
from cxrserve.models.manifest import Manifest, Reference, ReferenceLabel
from cxrserve.models.package import MANIFEST, ModelPackage, read_package
from cxrserve.models.repository import LoadedModel, loaded
from cxrserve.observability.drift import (
    TENTHS,
    expected_without_drift,
    is_counted,
    population_stability,
)
from cxrserve.preparation import Preparation, ReadRadiograph
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.reader import read_radiograph

# The index's own noise grows with the bins and shrinks with the films in them.
_MOST_BINS, _FILMS_A_BIN = 10, 30
_DIGITS = 6
_NOT_SERVED = (BadRequest, UploadTooLarge, UnsupportedUpload, UnreadableImage, NotReadableAsChest)


Findings = Sequence[Finding]


class NoReference(CxrError):
    """A reference cannot be made of this package or of these films."""

    code = "no_reference"


class Added(NamedTuple):
    """What was written, and how many films could not be read or would not be counted."""

    manifest: Manifest
    left_out: int

    @property
    def reference(self) -> Reference:
        """What was added."""
        assert self.manifest.reference is not None
        return self.manifest.reference


@dataclass(frozen=True, slots=True)
class LabelDrift:
    """Of one label: the population stability index; mean probability and positive rate now."""

    index: float
    mean: float
    positive_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far films are from a package's reference.

    Attributes:
        images, left_out: films that were read, and that could not be or would not be counted.
        noise: what the index is on average where nothing has drifted.
    """

    reference: Reference
    images: int
    left_out: int
    labels: Mapping[str, LabelDrift]
    noise: float


def add_reference(
    folder: Path,
    files: Iterable[Path],
    *,
    films: Literal["val", "own"],
    gate: QualityGate | None = None,
) -> Added:
    """Read films with a package's network, and write `reference` into its `model.yaml`.

    Args:
        folder: the package.
        files: films, one a file; what is no image or is refused is left out.
        films: which they are, see `Reference`.
        gate: refuses what it refuses when serving; None lets everything pass.

    Raises:
        BrokenPackage: the package cannot be trusted or run.
        NoReference: it is no classifier, or none of the films can be read.
    """
    package = read_package(folder)
    found, left_out = _found(package, files, gate)
    manifest = package.manifest.model_copy(update={"reference": reference_of(found, films=films)})
    write_manifest(manifest, folder)
    return Added(manifest, left_out)


def drift_of(folder: Path, files: Iterable[Path], *, gate: QualityGate | None = None) -> Drift:
    """Read films with a package's network, and compare them with its reference.

    Args:
        folder, files, gate: as for `add_reference`.

    Raises:
        BrokenPackage, NoReference: as `add_reference`; or the package has no reference.
    """
    package = read_package(folder)
    reference = package.manifest.reference
    if reference is None:
        raise NoReference(
            f"{package.manifest.name} has no reference", advice="`cxrserve reference` adds one"
        )
    found, left_out = _found(package, files, gate)
    seen = reference_of(found, films="own").labels
    bins = max(len(label.shares) for label in reference.labels.values())
    return Drift(
        reference=reference,
        images=len(found),
        left_out=left_out,
        labels={
            label: LabelDrift(
                index=population_stability(
                    _counts(_column(found, label), np.array(said.edges)).tolist(), said.shares
                ),
                mean=seen[label].mean,
                positive_rate=seen[label].positive_rate,
            )
            for label, said in reference.labels.items()
        },
        noise=expected_without_drift(bins, reference.images, len(found)),
    )


def reference_of(found: Sequence[Findings], *, films: Literal["val", "own"]) -> Reference:
    """The reference of what a network found on each film; untrained labels have none."""
    labels = {
        finding.label: _reference_label(
            _column(found, finding.label),
            [findings[index].positive for findings in found],
        )
        for index, finding in enumerate(found[0])
        if finding.probability is not None
    }
    return Reference(films=films, images=len(found), labels=labels)


def edges_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of bins with as many films each: ten bins, or fewer so that each holds 30 films.

    Where a tie leaves a bin less than half of that, it is merged with its neighbour. No edge comes
    back where there are too few films for two bins.

    Args:
        probabilities: float64 `[n]`.
    """
    bins = max(1, min(_MOST_BINS, len(probabilities) // _FILMS_A_BIN))
    quantiles = np.quantile(probabilities, np.arange(1, bins) / bins)
    edges = np.unique(quantiles.round(_DIGITS))
    while len(edges):
        counts = _counts(probabilities, edges)
        least = int(counts.argmin())
        if counts[least] >= len(probabilities) / bins / 2:
            break
        edges = np.delete(edges, min(least, len(edges) - 1))
    return edges


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write a package's `model.yaml`."""
    (folder / MANIFEST).write_text(
        yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )


def _reference_label(
    probabilities: NDArray[np.float64], positives: Sequence[bool | None]
) -> ReferenceLabel:
    edges, films = edges_of(probabilities), len(probabilities)
    tenths = np.bincount(np.searchsorted(TENTHS, probabilities), minlength=len(TENTHS))
    positive = sum(one is True for one in positives)
    return ReferenceLabel(
        edges=tuple(edges.tolist()),
        shares=_rounded(_counts(probabilities, edges) / films),
        tenths=_rounded(tenths / films),
        positive_rate=None if positives[0] is None else round(positive / films, _DIGITS),
        mean=round(float(probabilities.mean()), _DIGITS),
    )


def _counts(probabilities: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    places = np.searchsorted(edges, probabilities, side="right")
    return np.bincount(places, minlength=len(edges) + 1)


def _rounded(shares: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(shares.round(_DIGITS).tolist())


def _column(found: Sequence[Findings], label: str) -> NDArray[np.float64]:
    """The probabilities of one label, float64 `[n]`."""
    return np.array(
        [one.probability for findings in found for one in findings if one.label == label],
        np.float64,
    )


def _found(
    package: ModelPackage, files: Iterable[Path], gate: QualityGate | None
) -> tuple[list[Findings], int]:
    """What a network finds on each film that serving would count, and how many it would not."""
    manifest = package.manifest
    if manifest.task not in ("multi-class", "multi-label"):
        raise NoReference(f"{manifest.name} gives no probabilities of findings")
    model = loaded(package, load_onnx_cpu)
    preparation = Preparation(_reader_for(model), gate, time.monotonic)
    try:
        read = [_findings(model, preparation, file) for file in files]
    finally:
        model.engine.close()
    found = [findings for findings in read if findings is not None]
    if not found:
        raise NoReference(
            f"none of {len(read)} films could be read", advice="take frontal chest radiographs"
        )
    return found, len(read) - len(found)


def _reader_for(model: LoadedModel) -> ReadRadiograph:
    limits = Limits()
    limits = replace(limits, jpeg_side=max(limits.jpeg_side, model.manifest.input.side))
    return lambda data, content_type: read_radiograph(
        data, content_type=content_type, limits=limits
    )


def _findings(model: LoadedModel, preparation: Preparation, file: Path) -> Findings | None:
    """What the network finds on a film; None for one that serving would refuse or not count."""
    try:
        prepared = preparation.prepare(file.read_bytes(), None, [model], force=False, picture=False)
    except _NOT_SERVED:
        return None
    if not is_counted(prepared.image):
        return None
    outputs = model.engine.run(prepared.inputs[0][None, None])
    assert isinstance(outputs, Outputs)
    manifest = model.manifest
    return find(manifest, outputs.logits[0], manifest.default_operating_point)
