"""Engines must agree (design decision 5): each is held against ONNX Runtime when it is loaded."""

from __future__ import annotations

import numpy as np

from cxrserve.engines.contract import Network
from cxrserve.engines.films import films
from cxrserve.engines.onnx_runtime import OnnxRuntime
from cxrserve.errors import BrokenPackage
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage

BOUNDS = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.1, "bf16": 0.25}
"""Largest difference to ONNX Runtime running the same graph, by the precision of the arithmetic:
of a logit, and in a mask of the 99th percentile of its pixels. int8 kernels round between layers
in their own places; bf16 keeps 8 bits of a number."""

_FILMS = 2


def check_parity(network: Network, package: ModelPackage, graph: Graph) -> None:
    """Run phantoms through a network and through ONNX Runtime, on the CPU, from the same graph.

    Raises:
        BrokenPackage: they differ by more than `BOUNDS`.
    """
    reference = OnnxRuntime(package.graph_bytes(graph), precision=graph.precision)
    try:
        difference = _difference(network, reference, package.manifest.input.side)
    finally:
        reference.close()
    bound = BOUNDS[network.precision]
    if not difference <= bound:
        raise BrokenPackage(
            f"{network.name} differs from ONNX Runtime by {difference:.2g}, allowed are {bound:g}",
            advice="run this package with another engine or precision",
        )


def _difference(network: Network, reference: Network, side: int) -> float:
    pixels = films(_FILMS, side)
    given, expected = network.run(pixels), reference.run(pixels)
    if "mask" in expected:
        return float(np.quantile(np.abs(given["mask"] - expected["mask"]), 0.99))
    return float(np.abs(given["logits"] - expected["logits"]).max())
