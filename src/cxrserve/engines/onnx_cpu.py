"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.engines.engine import Engine, Masks, Outputs
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.package import ModelPackage

ort.disable_telemetry_events()
# One arena for the sessions of all models: with one each, every network keeps the most it ever
# needed, and eight of them hold 1.8 times as much.
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    None,
)

_CAM_TOLERANCE = 1e-3
# The most exact first: a package that is large in fp32 may hold a smaller graph only.
_PRECISIONS = ("fp32", "fp16", "int8")


def load_onnx_cpu(package: ModelPackage) -> Engine:
    """The engine of a package on this machine's CPU: its fp32 graph, else fp16, else int8.

    Raises:
        BrokenPackage: the graph does not keep the contract of the package's task.
    """
    graph = min(package.manifest.graphs, key=lambda one: _PRECISIONS.index(one.precision))
    kind = OnnxCpuSegmenter if package.manifest.task == "segmentation" else OnnxCpuEngine
    engine: Engine = kind(
        package.graph_bytes(graph),
        labels=len(package.manifest.labels),
        side=package.manifest.input.side,
        precision=graph.precision,
    )
    return engine


class _OnnxCpu:
    """One session; each call runs on the calling thread plus `threads - 1` more.

    Args:
        graph: bytes of the ONNX file; its digest was checked by who read it.
        labels: number of outputs that the package declares.
        side: input side in pixels.
        precision: `fp32`, `int8` …, for the engine's name.
        threads: threads within one call. One, with several calls at once, serves most.

    Raises:
        BrokenPackage: the graph does not keep the contract.
    """

    _gives: tuple[str, ...]

    def __init__(
        self, graph: bytes, *, labels: int, side: int, precision: str, threads: int = 1
    ) -> None:
        self.name = f"onnxruntime-cpu-{precision}"
        self._labels = labels
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without it idle worker threads burn a core, which decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BrokenPackage(f"ONNX Runtime cannot load the graph: {error}") from error
        self._check_names()
        rng = np.random.default_rng(0)
        self._check_contract(rng.integers(0, 256, (2, 1, side, side), np.uint8))

    def close(self) -> None:
        """See `Engine.close`."""
        del self._session

    def _outputs(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            outputs = self._session.run(list(self._gives), {"pixels": pixels})
        except Exception as error:
            raise EngineFailure("ONNX Runtime failed to run the network") from error
        return [np.asarray(output) for output in outputs]

    def _check_names(self) -> None:
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        outputs = {entry.name: entry.type for entry in self._session.get_outputs()}
        if set(inputs) != {"pixels"} or inputs["pixels"].type != "tensor(uint8)":
            raise BrokenPackage("the graph must have one input: `pixels`, uint8")
        if any(outputs.get(name) != "tensor(float)" for name in self._gives):
            wanted = " and ".join(f"`{name}`" for name in self._gives)
            raise BrokenPackage(f"the graph must give {wanted}, float32; it gives {outputs}")

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        """Run two images of noise, and compare what comes out with what the package declares."""
        raise NotImplementedError


class OnnxCpuEngine(_OnnxCpu):
    """A classifier: `logits` and `cam`."""

    _gives = ("logits", "cam")

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See `Engine.run`."""
        logits, cam = self._outputs(pixels)
        if not np.isfinite(logits).all():
            raise EngineFailure("the network gave logits that are not finite")
        return Outputs(logits, cam, self._bias)

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        logits, cam = self._outputs(pixels)
        expected = (len(pixels), self._labels)
        if logits.shape != expected or cam.ndim != 4 or cam.shape[:2] != expected:
            raise BrokenPackage(
                f"the graph gives logits {logits.shape} and maps {cam.shape} "
                f"for {self._labels} labels"
            )
        # mean(cam) + bias == logit: the bias is whatever is left, so it must be left everywhere.
        bias = logits - cam.mean(axis=(2, 3))
        if not np.abs(bias[0] - bias[1]).max() <= _CAM_TOLERANCE:
            raise BrokenPackage("the graph breaks mean(cam) + bias == logit")
        self._bias: NDArray[np.float32] = bias[0]


class OnnxCpuSegmenter(_OnnxCpu):
    """A segmentation model: `mask`, probabilities."""

    _gives = ("mask",)

    def run(self, pixels: NDArray[np.uint8]) -> Masks:
        """See `Engine.run`."""
        (mask,) = self._outputs(pixels)
        # Not a number is in no range.
        if not (mask.min() >= 0 and mask.max() <= 1):
            raise EngineFailure("the network gave a mask that is not within 0..1")
        return Masks(mask)

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        (mask,) = self._outputs(pixels)
        if mask.ndim != 4 or mask.shape[:2] != (len(pixels), self._labels) or not mask.size:
            raise BrokenPackage(f"the graph gives a mask {mask.shape} for {self._labels} labels")
        try:
            self.run(pixels)
        except EngineFailure as error:
            raise BrokenPackage(f"the graph breaks its contract: {error.detail}") from error
