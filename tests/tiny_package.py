"""A model package with a network of a few numbers, for tests that need one they can break."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
LABELS = ("normal", "pneumonia")
LUNGS = ("right_lung", "left_lung")
MASK_SIDE = 16


def write_tiny_package(
    folder: Path,
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    bias: float = 0.0,
    graph: bytes | None = None,
    **changes: Any,
) -> Path:
    """Write a valid package into `folder`; `changes` replace entries of `model.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = graph or tiny_graph(bias)
    (folder / "model.onnx").write_bytes(graph)
    manifest = {
        "name": name,
        "version": version,
        "task": "multi-class",
        "description": "brightness, for tests",
        "labels": [
            {"name": LABELS[0], "finding": False},
            {
                "name": LABELS[1],
                "code": {"system": "SCT", "value": "233604007", "meaning": "Pneumonia"},
            },
        ],
        "input": {"side": SIDE, "fit": "stretch"},
        "activation": "softmax",
        "operating_points": {
            "balanced": {"pneumonia": 0.5},
            "screening": {"pneumonia": 0.1},
        },
        "default_operating_point": "balanced",
        "graphs": [
            {
                "file": "model.onnx",
                "precision": "fp32",
                "sha256": hashlib.sha256(graph).hexdigest(),
            }
        ],
        "provenance": {"data": "none", "population": "none", "code_version": "0"},
        "licence": "Apache-2.0",
        "intended_use": "tests",
        **changes,
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    return folder


def write_tiny_segmentation(
    folder: Path,
    *,
    name: str = "lungs-unet",
    graph: bytes | None = None,
    **changes: Any,
) -> Path:
    """Write a package whose lungs are what is bright in each half of the image."""
    manifest = {
        "task": "segmentation",
        "labels": [{"name": lung, "finding": False} for lung in LUNGS],
        "activation": "sigmoid",
        "operating_points": {},
        "default_operating_point": None,
        "lung_masks": "end_at_heart",
        **changes,
    }
    write_tiny_package(folder, name=name, graph=graph or tiny_mask_graph(), **manifest)
    return folder


def tiny_graph(bias: float = 0.0, *, broken_map: bool = False, right_half: float = 1.0) -> bytes:
    """Pixels become a 4 x 4 map by average pooling; logits are its mean times ±8, plus `bias`.

    What is right of the middle counts `right_half` times.
    """
    halves = np.ones((1, 1, SIDE, SIDE), np.float32)
    halves[..., SIDE // 2 :] = right_half
    weights = np.array([-8.0, 8.0], np.float32).reshape(2, 1, 1, 1) / 255
    nodes = [
        helper.make_node("Cast", ["pixels"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "halves"], ["grey"]),
        helper.make_node(
            "AveragePool",
            ["grey"],
            ["pooled"],
            kernel_shape=[SIDE // 4, SIDE // 4],
            strides=[SIDE // 4, SIDE // 4],
        ),
        helper.make_node("Conv", ["pooled", "weights"], ["cam"]),
        helper.make_node(
            "Mul" if broken_map else "Identity", ["cam"] + ["cam"] * broken_map, ["m"]
        ),
        helper.make_node("ReduceMean", ["m"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", 2, 4, 4]),
        ],
        [
            numpy_helper.from_array(halves, "halves"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-bias, bias], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_mask_graph(
    *,
    gain: float = 1.0,
    labels: int = 2,
    output: str = "mask",
    rows: slice = slice(0, MASK_SIDE),
) -> bytes:
    """Brightness 0..`gain` at half the side; the first label in the left half, the second right.

    Nothing is found outside of `rows`.
    """
    halves = np.zeros((1, 2, MASK_SIDE, MASK_SIDE), np.float32)
    halves[0, 0, rows, : MASK_SIDE // 2] = gain / 255
    halves[0, 1, rows, MASK_SIDE // 2 :] = gain / 255
    nodes = [
        helper.make_node("Cast", ["pixels"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["grey"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Mul", ["small", "halves"], [output]),
    ]
    shape: list[str | int | None] = ["N", labels, MASK_SIDE, MASK_SIDE]
    graph = helper.make_graph(
        nodes,
        "tiny-mask",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(halves[:, :labels], "halves")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
