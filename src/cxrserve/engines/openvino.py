"""OpenVINO on the CPU (extra `openvino`)."""

from __future__ import annotations

import queue
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.contract import engine_of
from cxrserve.engines.engine import Engine
from cxrserve.engines.hardware import cores
from cxrserve.engines.parity import check_parity
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage

# `import openvino` reports to a web analytics service unless told otherwise in the home folder.
# Nothing leaves the hospital: without this module OpenVINO uses its own stub in its place.
if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino as ov

_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_PRECISION_OF = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def load_openvino(
    package: ModelPackage,
    graph: Graph,
    *,
    precision: str | None = None,
    threads: int = 1,
    slots: int | None = None,
) -> Engine:
    """The engine of one of a package's graphs in OpenVINO.

    Args:
        package: the package.
        graph: one of its graphs.
        precision: of the arithmetic; by default the graph's own.
        threads: cores of one call.
        slots: calls at once (OpenVINO's streams); by default one for each `threads` cores.

    Raises:
        BrokenPackage: the graph breaks its contract, or differs from ONNX Runtime.
    """
    network = OpenVino(
        package.graph_bytes(graph),
        precision=precision or graph.precision,
        threads=threads,
        slots=slots,
    )
    engine = engine_of(network, package)
    check_parity(network, package, graph)
    return engine


def has_bf16() -> bool:
    """This processor computes in bf16; elsewhere OpenVINO would quietly take fp32."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVino:
    """A compiled graph with a request for each slot; a call waits until one is free.

    Args:
        graph: bytes of the ONNX file; its digest was checked by who read it.
        precision: `fp32`, `bf16` or `fp16`; `int8` for a graph that is quantised itself.
        threads: cores of one call.
        slots: calls at once; by default one for each `threads` cores.

    Raises:
        BrokenPackage: the graph cannot be loaded.
    """

    independent_slots = True

    def __init__(
        self, graph: bytes, *, precision: str, threads: int = 1, slots: int | None = None
    ) -> None:
        self.slots = slots or max(1, cores() // threads)
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32"),
            "NUM_STREAMS": str(self.slots),
            "INFERENCE_NUM_THREADS": self.slots * threads,
            # Decoding shares these cores, and other processes may.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = ov.Core()
            compiled = core.compile_model(core.read_model(graph), "CPU", options)
        except Exception as error:
            raise BrokenPackage(f"OpenVINO cannot load the graph: {error}") from error
        in_force = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = "int8" if precision == "int8" else _PRECISION_OF.get(in_force, in_force)
        suffix = f"-{threads}t" if threads > 1 else ""
        self.name = f"openvino-cpu-{self.precision}{suffix}"
        self.inputs = {port.any_name: _element_type(port) for port in compiled.inputs}
        self.outputs = {port.any_name: _element_type(port) for port in compiled.outputs}
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.slots):
            self._free.put(compiled.create_infer_request())

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """See `Network.run`."""
        free = self._free
        request = free.get()
        try:
            request.infer({"pixels": pixels}, share_inputs=True)
            # Copies: the next call writes over the request's own.
            return {name: request.get_tensor(name).data.copy() for name in self.outputs}
        except Exception as error:
            raise EngineFailure("OpenVINO failed to run the network") from error
        finally:
            free.put(request)

    def close(self) -> None:
        """See `Engine.close`."""
        del self._free


def _element_type(port: Any) -> str:
    return str(port.get_element_type().to_dtype().name)
