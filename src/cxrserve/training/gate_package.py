"""The gate's model package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

import cxrserve
from cxrserve.models.manifest import Graph, Input, Label, Manifest, Provenance
from cxrserve.training.graphs import write_graph
from cxrserve.training.networks.mobilenetv2 import MobileNetV2

LABELS = (
    "not_a_chest",
    "not_a_radiograph",
    "rotated_90",
    "rotated_180",
    "rotated_270",
    "inverted",
    "photo_of_film",
    "phantom",
)
CARD, METRICS = "MODEL_CARD.md", "metrics.json"


def write_gate_package(
    network: MobileNetV2, package: Path, *, side: int, data_manifest_sha256: str, seed: int
) -> None:
    """Write graph and `model.yaml`; `measure` adds figures and card."""
    package.mkdir(parents=True, exist_ok=True)
    graph = package / "model.onnx"
    write_graph(network, graph, side=side)
    manifest = Manifest(
        name="gate",
        version="1.0.0",
        task="gate",
        description="Tells a readable frontal chest radiograph from what is none.",
        labels=tuple(Label(name=name, finding=False) for name in LABELS),
        input=Input(side=side, fit="pad"),
        activation="sigmoid",
        graphs=(Graph(file=graph.name, precision="fp32", sha256=_sha256(graph)),),
        provenance=Provenance(
            data=(
                "train split of NIH ChestX-ray14, Kermany 2018, ml-workgroup COVID-19, TBX11K and "
                "covid-chestxray-dataset films as in manifest.csv; everything else is drawn, or "
                "cut from photographs in free packages (docs/quality-gate.md)"
            ),
            population="adults and children, frontal films",
            data_manifest_sha256=data_manifest_sha256,
            code_version=cxrserve.__version__,
            seed=seed,
        ),
        licence="Apache-2.0",
        intended_use="Refusing or remarking uploads before chest models read them. Research use.",
        limitations=(
            "No real extremity, abdomen, skull or lateral chest was trained on: drawings and "
            "cut-outs stand in for them.",
            "Photographs of films were simulated.",
            "It does not judge positioning, inspiration or exposure.",
        ),
    )
    save_manifest(package, manifest)


def save_manifest(package: Path, manifest: Manifest) -> None:
    """Write `model.yaml` with the digests of the card and figures that are there."""
    files = {
        name: _sha256(package / name) for name in (CARD, METRICS) if (package / name).is_file()
    }
    manifest = manifest.model_copy(update={"files": files})
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (package / "model.yaml").write_text(text, "utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
