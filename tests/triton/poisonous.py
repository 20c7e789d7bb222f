"""A network that some images break: white in the first corner, it fails; in the next pixel, NaN."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_package import SIDE, tiny_graph


def poisonous_graph() -> bytes:
    """The tiny network, with what is nothing for most images added to its logits."""
    model = onnx.load_from_string(tiny_graph())
    graph = model.graph
    logits = next(node for node in graph.node if "logits" in node.output)
    logits.output[0] = "clean"
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype), name)
        for name, value, dtype in (
            ("corner_start", [0, 0, 0, 0], np.int64),
            ("corner_end", [2**31, 1, 1, 2], np.int64),
            ("white", 255.0, np.float32),
            ("nothing", [0.0], np.float32),
            ("flat", [-1, 2], np.int64),
            ("first", [0], np.int64),
            ("second", [1], np.int64),
            ("one", 1.0, np.float32),
            ("zero", 0.0, np.float32),
        )
    )
    graph.node.extend(
        [
            helper.make_node("Slice", ["whole", "corner_start", "corner_end"], ["corner"]),
            helper.make_node("Div", ["corner", "white"], ["share"]),
            helper.make_node("Floor", ["share"], ["is_white"]),
            helper.make_node("Reshape", ["is_white", "flat"], ["pair"]),
            helper.make_node("Gather", ["pair", "first"], ["fails"], axis=1),
            helper.make_node("Gather", ["pair", "second"], ["spoils"], axis=1),
            # An index beyond the only element: ONNX Runtime refuses the batch.
            helper.make_node("Cast", ["fails"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["nothing", "index"], ["none"], axis=0),
            # 0 / 0 where the pixel is white, else 0 / 1.
            helper.make_node("Sub", ["one", "spoils"], ["divisor"]),
            helper.make_node("Div", ["zero", "divisor"], ["nan"]),
            helper.make_node("Add", ["none", "nan"], ["poison"]),
            helper.make_node("Add", ["clean", "poison"], ["logits"]),
        ]
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def image(*, fails: bool = False, spoils: bool = False) -> NDArray[np.uint8]:
    """One grey image, uint8 `[1, 1, side, side]`."""
    pixels = np.full((1, 1, SIDE, SIDE), 100, np.uint8)
    pixels[0, 0, 0, :2] = 255 * fails, 255 * spoils
    return pixels
