"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.package import ModelPackage

ort.disable_telemetry_events()

_CAM_TOLERANCE = 1e-3


class OnnxCpuEngine:
    """One session; each call runs on the calling thread plus `threads - 1` more.

    Args:
        graph: bytes of the ONNX file; its digest was checked by who read it.
        labels: number of outputs K that the package declares.
        side: input side in pixels.
        precision: `fp32`, `int8` …, for the engine's name.
        threads: threads within one call. One, with several calls at once, serves most.

    Raises:
        BrokenPackage: the graph does not keep the contract.
    """

    def __init__(
        self, graph: bytes, *, labels: int, side: int, precision: str, threads: int = 1
    ) -> None:
        self.name = f"onnxruntime-cpu-{precision}"
        self._labels, self._side = labels, side
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without it idle worker threads burn a core, which decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BrokenPackage(f"ONNX Runtime cannot load the graph: {error}") from error
        self._check_contract()

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See `Engine.run`."""
        try:
            logits, cam = self._session.run(["logits", "cam"], {"pixels": pixels})
        except Exception as error:
            raise EngineFailure("ONNX Runtime failed to run the network") from error
        outputs = Outputs(np.asarray(logits), np.asarray(cam))
        if not np.isfinite(outputs.logits).all():
            raise EngineFailure("the network gave logits that are not finite")
        return outputs

    def close(self) -> None:
        """See `Engine.close`."""
        del self._session

    def _check_contract(self) -> None:
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        outputs = {entry.name for entry in self._session.get_outputs()}
        if set(inputs) != {"pixels"} or inputs["pixels"].type != "tensor(uint8)":
            raise BrokenPackage("the graph must have one input: `pixels`, uint8")
        if not {"logits", "cam"} <= outputs:
            raise BrokenPackage(
                f"the graph must give `logits` and `cam`, it gives {sorted(outputs)}"
            )
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (2, 1, self._side, self._side), np.uint8)
        both = self.run(pixels)
        if both.logits.shape != (2, self._labels) or both.cam.shape[:2] != (2, self._labels):
            raise BrokenPackage(
                f"the graph gives logits {both.logits.shape} and maps {both.cam.shape} "
                f"for {self._labels} labels"
            )
        # mean(cam) + bias == logit: the bias is whatever is left, so it must be left everywhere.
        bias = both.logits - both.cam.mean(axis=(2, 3))
        if np.abs(bias[0] - bias[1]).max() > _CAM_TOLERANCE:
            raise BrokenPackage("the graph breaks mean(cam) + bias == logit")
        self.bias: NDArray[np.float32] = bias[0]


def load_onnx_cpu(package: ModelPackage) -> OnnxCpuEngine:
    """The engine of a package on this machine's CPU: its fp32 graph."""
    graph = package.graph("fp32")
    return OnnxCpuEngine(
        package.graph_bytes(graph),
        labels=len(package.manifest.labels),
        side=package.manifest.input.side,
        precision=graph.precision,
    )
