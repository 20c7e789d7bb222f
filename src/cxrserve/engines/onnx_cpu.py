"""What serves a package unless a plan says otherwise: ONNX Runtime on the CPU."""

from __future__ import annotations

from cxrserve.engines.contract import engine_of
from cxrserve.engines.engine import Engine
from cxrserve.engines.onnx_runtime import OnnxRuntime
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage

# The most exact first: a package that is large in fp32 may hold a smaller graph only.
_PRECISIONS = ("fp32", "fp16", "int8")


def load_onnx_cpu(package: ModelPackage) -> Engine:
    """The engine of a package on this machine's CPU: its fp32 graph, else fp16, else int8.

    Raises:
        BrokenPackage: the graph does not keep the contract of the package's task.
    """
    graph = most_exact(package)
    network = OnnxRuntime(package.graph_bytes(graph), precision=graph.precision)
    return engine_of(network, package)


def most_exact(package: ModelPackage) -> Graph:
    """The graph of a package that the others are held against."""
    return min(package.manifest.graphs, key=lambda one: _PRECISIONS.index(one.precision))
