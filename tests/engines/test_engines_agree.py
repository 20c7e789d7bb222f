"""Every engine gives what ONNX Runtime gives, alone and in any batch, from any thread."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines.contract import engine_of
from cxrserve.engines.engine import Engine, Masks
from cxrserve.engines.films import films
from cxrserve.engines.onnx_runtime import OnnxRuntime
from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage, read_package
from tests.tiny_package import (
    SIDE,
    tiny_graph,
    tiny_mask_graph,
    write_tiny_package,
    write_tiny_segmentation,
)

_MODELS = Path(__file__).resolve().parents[2] / "models"
# An image alone and in a batch: of a logit, or of a pixel of a mask.
_BATCH_BOUND = {"fp32": 1e-5, "int8": 1e-5, "bf16": 1e-5}

Loader = Callable[[ModelPackage, Graph], Engine]


def _onnxruntime(package: ModelPackage, graph: Graph) -> Engine:
    return engine_of(OnnxRuntime(package.graph_bytes(graph), precision=graph.precision), package)


def _openvino(package: ModelPackage, graph: Graph) -> Engine:
    from cxrserve.engines.openvino import load_openvino

    return load_openvino(package, graph)


def _torch(package: ModelPackage, graph: Graph) -> Engine:
    from cxrserve.engines.torch_engine import load_torch

    return load_torch(package, graph)


def _torch_bf16(package: ModelPackage, graph: Graph) -> Engine:
    from cxrserve.engines.torch_engine import load_torch

    return load_torch(package, graph, precision="bf16")


def _needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"extra not installed: {', '.join(missing)}")


_OPENVINO = _needs("openvino")
_TORCH = _needs("torch", "onnx2torch")
_every_engine = pytest.mark.parametrize(
    "load",
    [
        pytest.param(_onnxruntime, id="onnxruntime"),
        pytest.param(_openvino, id="openvino", marks=_OPENVINO),
        pytest.param(_torch, id="torch", marks=_TORCH),
    ],
)
_CASES = [
    pytest.param(_onnxruntime, "chexml-resnet50", "int8", id="onnxruntime-chexml"),
    pytest.param(_onnxruntime, "nih14-densenet121", "int8", id="onnxruntime-densenet"),
    pytest.param(_onnxruntime, "nih14-mobilenetv2", "fp32", id="onnxruntime-nih14-mobilenet"),
    pytest.param(_onnxruntime, "nih14-cnn", "fp32", id="onnxruntime-nih14-cnn"),
    pytest.param(_onnxruntime, "tb-mobilenetv2", "fp32", id="onnxruntime-tb"),
    pytest.param(_onnxruntime, "triage", "fp32", id="onnxruntime-triage"),
    pytest.param(_onnxruntime, "lungs-unet", "fp32", id="onnxruntime-lungs"),
    pytest.param(_openvino, "nih14-cnn", "fp32", id="openvino-nih14-cnn", marks=_OPENVINO),
    pytest.param(_openvino, "triage", "fp32", id="openvino-triage", marks=_OPENVINO),
    pytest.param(_openvino, "tb-mobilenetv2", "fp32", id="openvino-tb", marks=_OPENVINO),
    pytest.param(_openvino, "lungs-unet", "int8", id="openvino-lungs-int8", marks=_OPENVINO),
    pytest.param(_torch, "nih14-cnn", "fp32", id="torch-nih14-cnn", marks=_TORCH),
    pytest.param(_torch, "triage", "fp32", id="torch-triage", marks=_TORCH),
    pytest.param(_torch, "tb-mobilenetv2", "fp32", id="torch-tb", marks=_TORCH),
    pytest.param(_torch, "lungs-unet", "fp32", id="torch-lungs", marks=_TORCH),
    pytest.param(_torch_bf16, "nih14-cnn", "fp32", id="torch-bf16-nih14-cnn", marks=_TORCH),
]


def _what_it_says(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    outputs = engine.run(pixels)
    return outputs.mask if isinstance(outputs, Masks) else outputs.logits


@pytest.mark.parametrize(("load", "name", "precision"), _CASES)
def test_a_real_network_says_what_it_says_in_onnx_runtime_alone_and_in_a_batch(
    load: Loader, name: str, precision: str
) -> None:
    package = read_package(_MODELS / name)
    graph = package.graph(precision)
    engine = load(package, graph)
    pixels = films(5, package.manifest.input.side)
    together = _what_it_says(engine, pixels)
    expected = _what_it_says(_onnxruntime(package, graph), pixels)
    bound = {"fp32": 1e-3, "int8": 0.1, "bf16": 0.25}[engine.precision]
    assert np.quantile(np.abs(together - expected), 0.99) <= bound
    for number in (0, 4):
        alone = _what_it_says(engine, pixels[number : number + 1])
        assert np.abs(alone[0] - together[number]).max() <= _BATCH_BOUND[engine.precision]
    engine.close()


@_every_engine
def test_answers_belong_to_their_images_when_many_threads_ask(load: Loader, tmp_path: Path) -> None:
    package = read_package(write_tiny_package(tmp_path / "tiny"))
    engine = load(package, package.manifest.graphs[0])
    levels = np.arange(0, 256, 4, dtype=np.uint8)

    def ask(level: np.uint8) -> float:
        pixels = np.full((1 + level % 3, 1, SIDE, SIDE), level, np.uint8)
        return float(_what_it_says(engine, pixels)[-1, 1])

    with ThreadPoolExecutor(4 * engine.slots) as threads:
        logits = list(threads.map(ask, levels))
    assert logits == pytest.approx((levels * (8 / 255)).tolist(), abs=1e-4)


@_every_engine
def test_what_an_engine_answered_is_not_overwritten_by_the_next_call(
    load: Loader, tmp_path: Path
) -> None:
    package = read_package(write_tiny_package(tmp_path / "tiny"))
    engine = load(package, package.manifest.graphs[0])
    dark = engine.run(np.zeros((1, 1, SIDE, SIDE), np.uint8))
    assert not isinstance(dark, Masks)
    before = dark.logits.copy(), dark.cam.copy()
    for _ in range(3 * engine.slots):
        engine.run(np.full((1, 1, SIDE, SIDE), 255, np.uint8))
    np.testing.assert_array_equal(dark.logits, before[0])
    np.testing.assert_array_equal(dark.cam, before[1])


@_every_engine
@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        (tiny_graph(broken_map=True), "mean"),
        (tiny_mask_graph(), "must give `logits` and `cam`"),
        (b"no graph", "cannot load the graph"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_by_every_engine(
    load: Loader, tmp_path: Path, graph: bytes, fault: str
) -> None:
    package = read_package(write_tiny_package(tmp_path / "tiny", graph=graph))
    with pytest.raises(BrokenPackage, match=fault):
        load(package, package.manifest.graphs[0])


@_every_engine
def test_a_segmentation_package_gives_masks(load: Loader, tmp_path: Path) -> None:
    package = read_package(write_tiny_segmentation(tmp_path / "lungs"))
    engine = load(package, package.manifest.graphs[0])
    pixels = np.zeros((2, 1, SIDE, SIDE), np.uint8)
    pixels[1] = 255
    masks = engine.run(pixels)
    assert isinstance(masks, Masks)
    assert masks.mask[0].max() == 0
    assert masks.mask[1].max() == pytest.approx(1)


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(_openvino, id="openvino", marks=_OPENVINO),
        pytest.param(_torch, id="torch", marks=_TORCH),
    ],
)
def test_an_engine_that_differs_from_onnx_runtime_is_refused(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = read_package(write_tiny_package(tmp_path / "tiny"))
    shifted = OnnxRuntime.run

    def off(self: OnnxRuntime, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {name: value + np.float32(2e-3) for name, value in shifted(self, pixels).items()}

    monkeypatch.setattr(OnnxRuntime, "run", off)
    with pytest.raises(BrokenPackage, match=r"differs from ONNX Runtime by 0\.002"):
        load(package, package.manifest.graphs[0])


@_TORCH
def test_in_bf16_the_map_still_explains_the_logit() -> None:
    package = read_package(_MODELS / "nih14-cnn")
    engine = _torch_bf16(package, package.graph("fp32"))
    outputs = engine.run(films(2, package.manifest.input.side))
    assert not isinstance(outputs, Masks)
    explained = outputs.cam.mean(axis=(2, 3)) + outputs.bias
    assert np.abs(explained - outputs.logits).max() <= 1e-3
    exact = _onnxruntime(package, package.graph("fp32"))
    assert np.abs(_what_it_says(exact, films(2, package.manifest.input.side))).max() > 0.1
    assert engine.name == "torch-cpu-bf16"


@_TORCH
def test_a_quantised_graph_is_not_for_pytorch() -> None:
    package = read_package(_MODELS / "lungs-unet")
    with pytest.raises(BrokenPackage, match="fp32 graphs"):
        _torch(package, package.graph("int8"))


@_OPENVINO
def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    script = (
        "import sys, cxrserve.engines.openvino\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "import openvino.tools.ovc.telemetry_utils as reports\n"
        "assert reports.tm.__name__.endswith('telemetry_stub')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**environment, "HOME": str(tmp_path)}
    )
    # What the reporting client writes when it starts: an identifier of this user.
    assert not list(tmp_path.iterdir())
