"""Make a model package of an evaluated run: ONNX graph, model.yaml, card and plots."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from numpy.typing import NDArray

import cxrserve
from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Calibration, Graph, Manifest, Provenance
from cxrserve.training.card import model_card
from cxrserve.training.datasets import load_pixels, read_manifest
from cxrserve.training.evaluate import METRICS, RELIABILITY, ROC, Evaluation, read_evaluation
from cxrserve.training.mobilenetv2 import MobileNetV2, folded
from cxrserve.training.recipe import Recipe
from cxrserve.training.train import trained_network

OPSET = 18
PARITY = 1e-4
_PARITY_FILMS = 64


def export(recipe: Recipe, *, data: Path, run: Path, package: Path) -> Manifest:
    """Write the package of a run: `model.yaml`, `model.onnx`, `MODEL_CARD.md`, metrics and plots.

    Args:
        package: the folder to write, usually `models/<name>`.

    Returns:
        What `model.yaml` says.

    Raises:
        UnusableData: the run has not been trained or evaluated.
        BrokenPackage: the graph disagrees with the network it was made of by more than 1e-4 in a
            logit, or a map's mean and the bias do not sum up to the logit.
    """
    evaluation = read_evaluation(recipe, run=run)
    network = trained_network(recipe, run=run)
    package.mkdir(parents=True, exist_ok=True)
    graph = package / "model.onnx"
    write_graph(network, graph, side=recipe.input.side)
    films = [film for film in read_manifest(data, task=recipe.dataset) if film.split == "val"]
    pixels = load_pixels(data, films[:_PARITY_FILMS], recipe.input)
    parity = checked_parity(network, graph, pixels[:, None])
    for name in (METRICS, ROC, RELIABILITY):
        shutil.copyfile(run / name, package / name)
    (package / "MODEL_CARD.md").write_text(model_card(recipe, evaluation), encoding="utf-8")
    manifest = _manifest(recipe, evaluation, package, graph=graph, parity=parity)
    (package / "model.yaml").write_text(
        yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    return manifest


def write_graph(network: MobileNetV2, path: Path, *, side: int) -> None:
    """Write the network as ONNX under the graph contract, normalisations folded, batch free."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated calls.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            folded(network).to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            # Two images: the exporter would bake a batch of one into the graph.
            (torch.zeros(2, 1, side, side, dtype=torch.uint8),),
            input_names=["pixels"],
            output_names=["logits", "cam"],
            dynamic_shapes={"pixels": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    onnx.save_model(_without_source(program.model_proto), path)


def checked_parity(network: MobileNetV2, graph: Path, pixels: NDArray[np.uint8]) -> float:
    """Largest absolute difference of a logit, torch against ONNX Runtime, on `[n, 1, S, S]`.

    Raises:
        BrokenPackage: it is above 1e-4, or the maps break `mean(cam) + bias == logit`.
    """
    with torch.inference_mode():
        ours = network.eval()(torch.from_numpy(pixels))[0].numpy()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits, cam = session.run(["logits", "cam"], {"pixels": pixels})
    parity = float(np.abs(logits - ours).max())
    bias = network.head.bias.detach().numpy()
    gap = float(np.abs(cam.mean(axis=(2, 3)) + bias - logits).max())
    for name, value in (("logits of torch and ONNX", parity), ("mean(cam) + bias and logit", gap)):
        if not value <= PARITY:
            raise BrokenPackage(f"{name} differ by {value:.2e}, at most {PARITY:.0e} is allowed")
    return parity


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_source(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the notes of the exporter, which hold paths of the machine it ran on."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def _manifest(
    recipe: Recipe, evaluation: Evaluation, package: Path, *, graph: Path, parity: float
) -> Manifest:
    words = recipe.words
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        task=recipe.task,
        description=words.description,
        labels=recipe.labels,
        input=recipe.input,
        activation="softmax",
        calibration=Calibration(method="temperature", temperature=evaluation.temperature),
        operating_points=evaluation.operating_points,
        default_operating_point=recipe.default_operating_point,
        age_bands=words.age_bands,
        graphs=(Graph(file=graph.name, precision="fp32", sha256=sha256_of(graph), parity=parity),),
        files={
            name: sha256_of(package / name) for name in ("MODEL_CARD.md", METRICS, ROC, RELIABILITY)
        },
        metrics=evaluation.metrics,
        provenance=Provenance(
            data=words.data,
            population=words.population,
            data_manifest_sha256=evaluation.data_manifest_sha256,
            recipe_sha256=recipe.sha256,
            code_version=cxrserve.__version__,
            seed=recipe.seed,
        ),
        licence=words.licence,
        intended_use=words.intended_use,
        limitations=words.limitations,
    )
