"""The package of an imported network: graph, `model.yaml` and an honest card."""

# ruff: noqa: PLC0415 - a late import keeps torch out of the command line's start

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

import cxrserve
from cxrserve.models.codes import code_of
from cxrserve.models.manifest import Graph, Input, Label, Manifest, Provenance
from cxrserve.models.preprocess import fit
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.training.importing.errors import ImportNotPossible

if TYPE_CHECKING:
    from cxrserve.training.importing.networks import PublishedClassifier
    from cxrserve.training.importing.weight_file import Weights

INTENDED_USE = "Research use only. Not a medical device, not cleared, not for diagnosis."
GRAPH, CARD = "model.onnx", "MODEL_CARD.md"
_PHANTOMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is said about an imported network; nobody here measured it.

    Attributes:
        side: the square that it reads, in pixels.
        operating_points: thresholds that its authors published; the first point is the default.
        preprocessing: one sentence for the card.
        figures: what was published about it elsewhere, for the card.
    """

    name: str
    description: str
    labels: tuple[Label, ...]
    side: int
    operating_points: Mapping[str, Mapping[str, float]]
    data: str
    population: str
    licence: str
    intended_use: str
    limitations: tuple[str, ...]
    preprocessing: str
    figures: tuple[str, ...]


def labelled(names: Sequence[str], *, trained: Sequence[bool] | None = None) -> tuple[Label, ...]:
    """Labels with their codes; none is `trained: false` unless said so."""
    return tuple(
        Label(name=name, code=code_of(name), trained=was)
        for name, was in zip(names, trained or [True] * len(names), strict=True)
    )


def write_package(
    network: PublishedClassifier, described: Description, weights: Weights, package: Path
) -> Manifest:
    """Write `model.onnx`, `MODEL_CARD.md` and `model.yaml`, once the graph was checked.

    Returns:
        What `model.yaml` says.

    Raises:
        BrokenPackage: torch and ONNX differ by more than 1e-4 in a logit, or a map's mean and the
            bias do not sum up to the logit.
        ImportNotPossible: the name or the side cannot stand in `model.yaml`.
    """
    from cxrserve.training.graphs import checked_parity, sha256_of, write_graph

    reads = Input(side=described.side, fit="crop")
    with TemporaryDirectory() as folder:
        graph, card = Path(folder) / GRAPH, Path(folder) / CARD
        write_graph(network, graph, side=described.side)
        parity = float(f"{checked_parity(network, graph, _test_images(reads)):.2g}")
        card.write_text(_card(described, weights, parity), encoding="utf-8")
        listed = Graph(file=GRAPH, precision="fp32", sha256=sha256_of(graph), parity=parity)
        manifest = _manifest(described, reads, weights, listed, card_sha256=sha256_of(card))
        package.mkdir(parents=True, exist_ok=True)
        for file in (graph, card):
            shutil.copyfile(file, package / file.name)
    (package / "model.yaml").write_text(
        yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    return manifest


def _test_images(reads: Input) -> NDArray[np.uint8]:
    """Drawn radiographs uint8 `[n, 1, S, S]`, to compare torch and ONNX on."""
    phantoms = [fit(draw_phantom(side=512, seed=seed), reads) for seed in range(_PHANTOMS)]
    return np.stack(phantoms)[:, None]


def _manifest(
    described: Description, reads: Input, weights: Weights, graph: Graph, *, card_sha256: str
) -> Manifest:
    try:
        return Manifest(
            name=described.name,
            version="1.0.0",
            task="multi-label",
            description=described.description,
            labels=described.labels,
            input=reads,
            activation="sigmoid",
            operating_points={k: dict(v) for k, v in described.operating_points.items()},
            default_operating_point=next(iter(described.operating_points), None),
            graphs=(graph,),
            files={CARD: card_sha256},
            provenance=Provenance(
                data=f"{described.data} (file {weights.file})",
                population=described.population,
                weights_sha256=weights.sha256,
                code_version=cxrserve.__version__,
            ),
            licence=described.licence,
            intended_use=described.intended_use,
            limitations=described.limitations,
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "model.yaml"
        raise ImportNotPossible(f"{place}: {first['msg']}, got {first['input']!r}") from error


def _card(described: Description, weights: Weights, parity: float) -> str:
    """MODEL_CARD.md: limits first, then where it came from."""
    return "\n".join(
        (
            f"# {described.name} 1.0.0",
            "",
            f"**{described.intended_use}**",
            "",
            described.description,
            "",
            "## Limits, first",
            "",
            *(f"- {limit}" for limit in described.limitations),
            "",
            "## Figures published elsewhere",
            "",
            *(f"- {figure}" for figure in described.figures),
            "",
            "## What it reads and says",
            "",
            f"- {described.preprocessing}",
            *_outputs(described),
            "",
            "## Where it came from",
            "",
            f"- Data: {described.data}",
            f"- People: {described.population}",
            f"- Licence: {described.licence}",
            f"- File `{weights.file}`, sha256 `{weights.sha256}`",
            f"- Torch and ONNX differ by at most {parity:.1e} in a logit, on {_PHANTOMS} "
            "drawn films",
            "",
        )
    )


def _outputs(described: Description) -> Iterator[str]:
    trained = [label.name for label in described.labels if label.trained]
    untrained = [label.name for label in described.labels if not label.trained]
    yield f"- Answers for: {', '.join(trained)}"
    if untrained:
        yield f"- Never trained, answered with null: {', '.join(untrained)}"
    for point, thresholds in described.operating_points.items():
        listed = ", ".join(f"{label} {value:.4g}" for label, value in thresholds.items())
        yield f"- Operating point `{point}`, probabilities: {listed}"
