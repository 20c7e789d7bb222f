"""A package's graph as TorchScript, for Triton's PyTorch backend (extra `torch`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrserve.engines.contract import engine_of
from cxrserve.engines.films import films
from cxrserve.engines.parity import check_parity
from cxrserve.engines.torch_engine import TorchNetwork
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage

# Tracing writes down what it saw: the checks below run other batch sizes than this one.
_TRACED = 3


def torchscript(package: ModelPackage, graph: Graph, outputs: Sequence[str]) -> bytes:
    """The bytes of `model.pt`: `forward(pixels)` gives `outputs`, in their order.

    Args:
        package: the package.
        graph: its fp32 graph.
        outputs: names of the graph's outputs; Triton's PyTorch backend knows them by order alone.

    Raises:
        BrokenPackage: the graph cannot be converted, or the module breaks the contract of every
            engine, or differs from ONNX Runtime.
    """
    side = package.manifest.input.side
    network = TorchNetwork(package.graph_bytes(graph), side=side)
    names = list(network.outputs)
    # On the CPU: Triton's backend moves the module to its own device when it loads it.
    ordered = _Ordered(network._module, [names.index(name) for name in outputs]).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        # That constants were written down is wanted; that nothing else was is checked below.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        module = torch.jit.trace(  # type: ignore[no-untyped-call]
            ordered, torch.from_numpy(films(_TRACED, side))
        )
    traced = _Traced(module, outputs)
    engine_of(traced, package)
    check_parity(traced, package, graph)
    held = io.BytesIO()
    torch.jit.save(module, held)
    return held.getvalue()


class _Ordered(nn.Module):
    """The network with a tuple of the wanted outputs, or the only one: all that Triton takes."""

    def __init__(self, network: nn.Module, order: list[int]) -> None:
        super().__init__()
        self._network = network
        self._order = order

    def forward(self, pixels: Tensor) -> Any:
        given = _several(self._network(pixels))
        chosen = tuple(given[index] for index in self._order)
        return chosen if len(chosen) > 1 else chosen[0]


class _Traced:
    """The traced module as the network that every engine's checks take."""

    name, precision, slots, independent_slots = "torchscript", "fp32", 1, True
    inputs = {"pixels": "uint8"}  # noqa: RUF012 - what the protocol asks for

    def __init__(self, module: Any, outputs: Sequence[str]) -> None:
        self._module = module
        self.outputs = dict.fromkeys(outputs, "float32")

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            given = _several(self._module(torch.from_numpy(pixels)))
        return dict(zip(self.outputs, (one.numpy() for one in given), strict=True))

    def close(self) -> None:
        del self._module


def _several(given: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [given] if isinstance(given, Tensor) else given
