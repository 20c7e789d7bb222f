"""PyTorch (extra `torch`): on a GPU with CUDA graphs, or on the CPU."""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx2torch
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import version_converter
from torch import Tensor, fx, nn

from cxrserve.engines.contract import engine_of
from cxrserve.engines.cuda_graphs import CudaGraphs
from cxrserve.engines.engine import Engine
from cxrserve.engines.hardware import cores
from cxrserve.engines.parity import check_parity
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage

_log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The newest operators that onnx2torch knows all of ours in.
_OPSET = 17
# Two batches at once, so that one is copied while the other is computed.
_GPU_SLOTS = 2


def load_torch(
    package: ModelPackage,
    graph: Graph,
    *,
    precision: str = "fp32",
    threads: int = 1,
    slots: int | None = None,
    device: Device = "cpu",
) -> Engine:
    """The engine of a package's fp32 graph in PyTorch.

    Args:
        package: the package.
        graph: its fp32 graph: quantised ones have no counterpart here.
        precision: `fp32`, or `bf16` or `fp16` by autocast, with the head in fp32.
        threads: threads of one call on the CPU.
        slots: calls at once; by default one for each `threads` cores, two on a GPU.
        device: `cuda` where a GPU is; the CPU takes its place otherwise.

    Raises:
        BrokenPackage: the graph is no fp32 graph, breaks its contract, cannot be converted, or
            differs from ONNX Runtime.
    """
    if graph.precision != "fp32":
        raise BrokenPackage(f"PyTorch runs fp32 graphs here, not {graph.precision}")
    network = TorchNetwork(
        package.graph_bytes(graph),
        side=package.manifest.input.side,
        precision=precision,
        threads=threads,
        slots=slots,
        device=device if device == "cpu" or torch.cuda.is_available() else "cpu",
    )
    engine = engine_of(network, package)
    check_parity(network, package, graph)
    return engine


def has_bf16() -> bool:
    """This processor computes in bf16; elsewhere it is emulated, slower than fp32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class TorchNetwork:
    """An ONNX graph as a module in channels-last layout; a call waits until a slot is free.

    Args:
        graph: bytes of the ONNX file; its digest was checked by who read it.
        side: input side in pixels.
        precision: `fp32`, `bf16` or `fp16`.
        threads: threads of one call on the CPU.
        slots: calls at once.
        device: `cpu` or `cuda`.

    Raises:
        BrokenPackage: the graph cannot be converted.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        side: int,
        precision: str = "fp32",
        threads: int = 1,
        slots: int | None = None,
        device: Device = "cpu",
    ) -> None:
        self.precision = precision
        self.independent_slots = device == "cpu"
        self.slots = slots or (max(1, cores() // threads) if device == "cpu" else _GPU_SLOTS)
        suffix = f"-{threads}t" if threads > 1 and device == "cpu" else ""
        self.name = f"torch-{device}-{precision}{suffix}"
        model = _folded(graph)
        self.inputs = _element_types(model.graph.input)
        self.outputs = _element_types(model.graph.output)
        self._device = device
        self._dtype = _AUTOCAST.get(precision)
        self._module = _module(model, exact_head=self._dtype is not None).to(device)
        self._free: queue.SimpleQueue[CudaGraphs | None] = queue.SimpleQueue()
        for _ in range(self.slots):
            self._free.put(self._captured(side) if device == "cuda" else None)
        self._threads = threads
        self._thread = threading.local()

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """See `Network.run`."""
        free = self._free
        graphs = free.get()
        try:
            return self._run_on(graphs, pixels)
        except Exception as error:
            raise EngineFailure("PyTorch failed to run the network") from error
        finally:
            free.put(graphs)

    def close(self) -> None:
        """See `Engine.close`."""
        del self._free, self._module

    def _captured(self, side: int) -> CudaGraphs | None:
        """The network as CUDA graphs; None where they cannot be captured: it runs without then."""
        try:
            return CudaGraphs(self._forward, side=side)
        except RuntimeError as error:
            _log.warning("%s runs without CUDA graphs: %s", self.name, error)
            return None

    def _run_on(
        self, graphs: CudaGraphs | None, pixels: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        if graphs is not None:
            outputs = graphs.run(pixels)
        else:
            self._limit_threads()
            given = self._forward(torch.from_numpy(pixels).to(self._device))
            outputs = [output.cpu().numpy() for output in given]
        return dict(zip(self.outputs, outputs, strict=True))

    def _forward(self, pixels: Tensor) -> list[Tensor]:
        with (
            torch.inference_mode(),
            torch.autocast(self._device, dtype=self._dtype, enabled=self._dtype is not None),
        ):
            outputs = self._module(pixels)
        return [output.float() for output in _as_list(outputs)]

    def _limit_threads(self) -> None:
        # OpenMP keeps the number for each calling thread, so each must say it once.
        if not hasattr(self._thread, "limited"):
            torch.set_num_threads(self._threads)
            self._thread.limited = True


def _folded(graph: bytes) -> onnx.ModelProto:
    """The graph with its constants computed: onnx2torch wants the weights of layers so."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BrokenPackage(f"ONNX Runtime cannot load the graph: {error}") from error
        model = onnx.load(path)
    # ONNX Runtime declares domains that these graphs use nothing of.
    used = {node.domain for node in model.graph.node}
    domains = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(domains)
    return model


def _module(model: onnx.ModelProto, *, exact_head: bool) -> nn.Module:
    try:
        if model.opset_import[0].version > _OPSET:
            model = version_converter.convert_version(model, _OPSET)
        module: fx.GraphModule = onnx2torch.convert(model)
    except Exception as error:
        raise BrokenPackage(f"the graph cannot be converted to PyTorch: {error}") from error
    if exact_head:
        _keep_exact_after_the_trunk(module)
    return module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _keep_exact_after_the_trunk(module: fx.GraphModule) -> None:
    """Compute in fp32 what not all outputs share: `mean(cam) + bias == logit` must survive."""
    output = next(node for node in module.graph.nodes if node.op == "output")
    trunk = set.intersection(*(_ancestors(node) for node in output.all_input_nodes))
    for node in module.graph.nodes:
        if node.op == "call_module" and node not in trunk:
            module.set_submodule(node.target, _Exact(module.get_submodule(node.target)))


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.all_input_nodes
    return found


class _Exact(nn.Module):
    """A layer that autocast leaves alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, enabled=False):
            return self._layer(*(i.float() if i.is_floating_point() else i for i in inputs))


def _as_list(outputs: Tensor | list[Tensor]) -> list[Tensor]:
    return outputs if isinstance(outputs, list) else [outputs]


def _element_types(values: Iterable[onnx.ValueInfoProto]) -> dict[str, str]:
    return {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in values
    }
