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


def write_tiny_package(
    folder: Path, *, name: str = "tiny", version: str = "1.0.0", bias: float = 0.0, **changes: Any
) -> Path:
    """Write a valid package into `folder`; `changes` replace entries of `model.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = tiny_graph(bias)
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


def tiny_graph(bias: float = 0.0, *, broken_map: bool = False) -> bytes:
    """Pixels become a 4 x 4 map by average pooling; logits are its mean times ±8, plus `bias`."""
    weights = np.array([-8.0, 8.0], np.float32).reshape(2, 1, 1, 1) / 255
    nodes = [
        helper.make_node("Cast", ["pixels"], ["grey"], to=TensorProto.FLOAT),
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
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-bias, bias], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
