"""Which engine runs a package: what its plan says, else ONNX Runtime on the CPU."""

# ruff: noqa: PLC0415 - OpenVINO and PyTorch are extras, and slow to import

from __future__ import annotations

import logging
from importlib.util import find_spec

from cxrserve.engines.contract import engine_of
from cxrserve.engines.engine import Engine
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.engines.onnx_runtime import OnnxRuntime
from cxrserve.engines.plan import Plan, Way
from cxrserve.errors import BrokenPackage
from cxrserve.models.package import ModelPackage

_log = logging.getLogger(__name__)

_NEEDS = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch", "onnx2torch"),
}


def load_engine(package: ModelPackage, *, plan: Plan | None = None) -> Engine:
    """The engine that serves a package.

    A plan that cannot be followed here, because its engine is not installed or breaks its
    promises, is passed over with a warning.

    Raises:
        BrokenPackage: the graph does not keep the contract of the package's task.
    """
    if plan is None:
        return load_onnx_cpu(package)
    if not is_installed(plan.engine):
        _log.warning(
            "%s: its plan wants %s, which is not installed (pip install 'cxrserve[%s]'): "
            "ONNX Runtime on the CPU takes its place",
            package.manifest.name,
            plan.engine,
            plan.engine,
        )
        return load_onnx_cpu(package)
    try:
        return load_way(package, plan)
    except (BrokenPackage, ImportError, OSError) as error:
        _log.warning(
            "%s: its plan cannot be followed (%s): ONNX Runtime on the CPU takes its place",
            package.manifest.name,
            error,
        )
        return load_onnx_cpu(package)


def load_way(package: ModelPackage, way: Way) -> Engine:
    """The engine of one way to run a package; its extra must be installed.

    Raises:
        BrokenPackage: there is no such graph, or it breaks its contract or its parity bound.
    """
    graph = package.graph(way.graph)
    if way.engine == "openvino":
        from cxrserve.engines.openvino import load_openvino

        return load_openvino(
            package, graph, precision=way.precision, threads=way.threads, slots=way.slots
        )
    if way.engine == "torch":
        from cxrserve.engines.torch_engine import load_torch

        return load_torch(
            package,
            graph,
            precision=way.precision,
            threads=way.threads,
            slots=way.slots,
            device="cpu" if way.device == "cpu" else "cuda",
        )
    network = OnnxRuntime(
        package.graph_bytes(graph),
        precision=graph.precision,
        threads=way.threads,
        slots=way.slots,
        device=way.device,
    )
    engine = engine_of(network, package)
    if way.device != "cpu":
        from cxrserve.engines.parity import check_parity

        check_parity(network, package, graph)
    return engine


def is_installed(engine: str) -> bool:
    """Whether an engine's extra is installed."""
    return all(find_spec(module) is not None for module in _NEEDS[engine])
