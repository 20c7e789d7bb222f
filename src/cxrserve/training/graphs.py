"""The ONNX graphs of a network: exact, stored at half the size, and in eight bits."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from cxrserve.errors import BrokenPackage
from cxrserve.training.networks.classifier import Classifier

OPSET = 18
PARITY = 1e-4
"""Largest difference of a logit (of a mask: of a probability) between torch and its fp32 graph."""

# Tensors with fewer numbers stay as they are: halving them saves nothing and costs accuracy.
_LEAST_TO_HALVE = 1024


def write_graph(network: nn.Module, path: Path, *, side: int) -> None:
    """Write a network as ONNX under the graph contract, normalisations folded, batch free."""
    batch = torch.export.Dim("batch")
    classifies = isinstance(network, Classifier)
    exported = network.folded() if isinstance(network, Classifier) else network.eval()
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated calls.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            exported.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            # Two images: the exporter would bake a batch of one into the graph.
            (torch.zeros(2, 1, side, side, dtype=torch.uint8),),
            input_names=["pixels"],
            output_names=["logits", "cam"] if classifies else ["mask"],
            dynamic_shapes={"pixels": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    onnx.save_model(_without_source(program.model_proto), path)


def write_halved(graph: Path, path: Path) -> None:
    """Write a graph whose weights are stored in 16 bits and computed with in 32.

    Half the file, the same speed; weights are rounded to 11 bits.
    """
    model = onnx.load_model(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _LEAST_TO_HALVE:
            continue
        name, short = tensor.name, f"{tensor.name}_16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), short))
        casts.append(helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        model.graph.node.insert(place, node)
    onnx.save_model(model, path)


def write_int8(
    graph: Path, path: Path, pixels: NDArray[np.uint8], *, exact_convolutions: int = 0
) -> None:
    """Write a graph whose convolutions run in eight bits, calibrated on films.

    Weights have a scale for each channel and seven bits: with eight, processors without VNNI
    saturate when they add two products (ONNX Runtime's documentation of quantisation). The head
    and the map stay exact, so `mean(cam) + bias == logit` still holds.

    Args:
        graph: the fp32 graph.
        pixels: uint8 `[n, 1, S, S]`, films whose activations set the ranges.
        exact_convolutions: this many convolutions, counted from the input, stay exact as well.
    """
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        convolutions = [n for n in onnx.load(prepared).graph.node if n.op_type == "Conv"]
        outputs = {"logits", "cam", "mask"}
        last = [n.name for n in convolutions if outputs & set(n.output)]
        exact = [node.name for node in convolutions[:exact_convolutions]]
        quantize_static(
            str(prepared),
            str(path),
            _Films(pixels),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[*exact, *last],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def steps_of_exactness(graph: Path) -> Iterator[int]:
    """How many convolutions to leave exact: none, then ever more of those nearest the input.

    The early ones compute the least per weight and hand their rounding on to all that follow.
    """
    count = sum(node.op_type == "Conv" for node in onnx.load(graph).graph.node)
    yield from sorted({0, 1, count // 4, count // 2, 3 * count // 4})


def outputs_of(
    graph: Path, pixels: NDArray[np.uint8], names: Sequence[str], *, batch: int = 16
) -> list[NDArray[np.float32]]:
    """Outputs of a graph by ONNX Runtime, for uint8 `[n, 1, S, S]`."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    parts = [
        session.run(list(names), {"pixels": pixels[i : i + batch]})
        for i in range(0, len(pixels), batch)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def checked_parity(network: nn.Module, graph: Path, pixels: NDArray[np.uint8]) -> float:
    """Largest absolute difference, torch against ONNX Runtime, on `[n, 1, S, S]`.

    Raises:
        BrokenPackage: it is above 1e-4, or the maps break `mean(cam) + bias == logit`.
    """
    network.eval()
    images = torch.from_numpy(pixels)
    if not isinstance(network, Classifier):
        with torch.inference_mode():
            ours = network(images).numpy()
        (mask,) = outputs_of(graph, pixels, ["mask"])
        return _within("masks of torch and ONNX", float(np.abs(mask - ours).max()))
    with torch.inference_mode():
        ours = network(images)[0].numpy()
    logits, cam = outputs_of(graph, pixels, ["logits", "cam"])
    bias = network.head.bias.detach().numpy()
    gap = np.abs(cam.mean(axis=(2, 3)) + bias - logits).max()
    _within("mean(cam) + bias and logit", float(gap))
    return _within("logits of torch and ONNX", float(np.abs(logits - ours).max()))


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Films(CalibrationDataReader):  # type: ignore[misc]
    """Hands films to the quantiser one at a time."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._films = iter(pixels)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        film = next(self._films, None)
        return None if film is None else {"pixels": film[None]}


def _within(name: str, value: float) -> float:
    if not value <= PARITY:
        raise BrokenPackage(f"{name} differ by {value:.2e}, at most {PARITY:.0e} is allowed")
    return value


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
