"""A graph runs only if it gives what its package's task promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrserve.engines.contract import Segmenter
from cxrserve.engines.engine import Masks
from cxrserve.engines.hardware import cores
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.engines.onnx_runtime import OnnxRuntime
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.package import read_package
from tests.tiny_package import (
    MASK_SIDE,
    SIDE,
    tiny_graph,
    tiny_mask_graph,
    write_tiny_package,
    write_tiny_segmentation,
)


def test_a_segmentation_package_gives_masks_of_the_images_it_is_shown(tmp_path: Path) -> None:
    engine = load_onnx_cpu(read_package(write_tiny_segmentation(tmp_path / "lungs")))
    pixels = np.zeros((2, 1, SIDE, SIDE), np.uint8)
    pixels[1, 0, :, : SIDE // 2] = 255
    masks = engine.run(pixels)
    assert isinstance(masks, Masks)
    assert masks.mask.shape == (2, 2, MASK_SIDE, MASK_SIDE)
    assert masks.mask[0].max() == 0
    assert masks.mask[1, 0].sum() == MASK_SIDE * MASK_SIDE / 2
    assert masks.mask[1, 1].max() == 0


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        (tiny_mask_graph(gain=1.5), "within 0..1"),
        (tiny_mask_graph(gain=-1.0), "within 0..1"),
        (tiny_mask_graph(gain=float("nan")), "within 0..1"),
        (tiny_mask_graph(labels=1), "for 2 labels"),
        (tiny_mask_graph(output="masks"), "must give `mask`"),
        (tiny_graph(), "must give `mask`"),
    ],
)
def test_a_segmentation_graph_that_breaks_its_contract_is_refused(
    tmp_path: Path, graph: bytes, fault: str
) -> None:
    package = read_package(write_tiny_segmentation(tmp_path / "lungs", graph=graph))
    with pytest.raises(BrokenPackage, match=fault):
        load_onnx_cpu(package)


def test_a_mask_out_of_range_on_a_later_image_is_a_failure_not_an_answer() -> None:
    # Noise, which is what a graph is checked with, averages well below white.
    network = OnnxRuntime(tiny_mask_graph(gain=1.01), precision="fp32")
    engine = Segmenter(network, labels=2, side=SIDE)
    with pytest.raises(EngineFailure, match=r"within 0\.\.1"):
        engine.run(np.full((1, 1, SIDE, SIDE), 255, np.uint8))


def test_a_classifier_cannot_pass_for_a_segmentation_model_nor_the_other_way(
    tmp_path: Path,
) -> None:
    package = read_package(write_tiny_segmentation(tmp_path / "lungs", task="multi-label"))
    with pytest.raises(BrokenPackage, match="must give `logits` and `cam`"):
        load_onnx_cpu(package)


@pytest.mark.parametrize(
    ("held", "used"),
    [
        (("int8", "fp16", "fp32"), "fp32"),
        (("int8", "fp16"), "fp16"),
        (("int8",), "int8"),
    ],
)
def test_the_most_exact_graph_that_a_package_holds_is_run(
    tmp_path: Path, held: tuple[str, ...], used: str
) -> None:
    folder = write_tiny_package(tmp_path / "tiny")
    (first,) = read_package(folder).manifest.graphs
    graphs = [{**first.model_dump(), "precision": precision} for precision in held]
    write_tiny_package(folder, graphs=graphs)
    assert load_onnx_cpu(read_package(folder)).name == f"onnxruntime-cpu-{used}"


def test_an_engine_says_how_many_calls_it_runs_at_once() -> None:
    assert OnnxRuntime(tiny_graph(), precision="fp32").slots == cores()
    assert OnnxRuntime(tiny_graph(), precision="fp32").independent_slots
    assert OnnxRuntime(tiny_graph(), precision="fp32", threads=2 * cores()).slots == 1
    assert OnnxRuntime(tiny_graph(), precision="fp32", slots=3).slots == 3


def test_without_a_gpu_provider_the_cpu_runs_the_network_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"], raising=True
    )
    network = OnnxRuntime(tiny_graph(), precision="fp32", device="tensorrt")
    assert network.name == "onnxruntime-cpu-fp32"
    assert network.independent_slots
    assert "no tensorrt provider" in caplog.text
