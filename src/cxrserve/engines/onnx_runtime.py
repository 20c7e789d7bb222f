"""ONNX Runtime: on the CPU, or on a GPU where its providers are installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.engines.hardware import cores
from cxrserve.errors import BrokenPackage, EngineFailure

ort.disable_telemetry_events()
# One arena for the sessions of all models: with one each, every network keeps the most it ever
# needed, and eight of them hold 1.8 times as much.
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    None,
)

_log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda", "tensorrt"]

# Each falls back to the next for what it cannot run.
_PROVIDERS: Mapping[Device, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
# Two batches at once on a GPU, so that one is copied while the other is computed.
_GPU_SLOTS = 2
_ELEMENT_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxRuntime:
    """One session; on the CPU each call runs on the calling thread plus `threads - 1` more.

    Args:
        graph: bytes of the ONNX file; its digest was checked by who read it.
        precision: `fp32`, `int8` …, for the engine's name.
        threads: threads within one call. One, with several calls at once, serves most.
        slots: calls at once; by default one for each `threads` cores, two on a GPU.
        device: where its provider is not installed, the CPU takes its place, with a warning.

    Raises:
        BrokenPackage: the graph cannot be loaded.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        precision: str,
        threads: int = 1,
        slots: int | None = None,
        device: Device = "cpu",
    ) -> None:
        device = _present(device)
        self.precision = precision
        self.independent_slots = device == "cpu"
        self.slots = slots or (max(1, cores() // threads) if device == "cpu" else _GPU_SLOTS)
        self.name = f"onnxruntime-{device}-{precision}" + (f"-{threads}t" if threads > 1 else "")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without it idle worker threads burn a core, which decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = ort.InferenceSession(graph, options, providers=list(_PROVIDERS[device]))
        except Exception as error:
            raise BrokenPackage(f"ONNX Runtime cannot load the graph: {error}") from error
        self.inputs = _element_types(self._session.get_inputs())
        self.outputs = _element_types(self._session.get_outputs())

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """See `Network.run`."""
        names = list(self.outputs)
        try:
            outputs = self._session.run(names, {"pixels": pixels})
        except Exception as error:
            raise EngineFailure("ONNX Runtime failed to run the network") from error
        return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}

    def close(self) -> None:
        """See `Engine.close`."""
        del self._session


def devices() -> tuple[Device, ...]:
    """The devices whose providers this ONNX Runtime has, the CPU first."""
    available = ort.get_available_providers()
    return tuple(device for device, names in _PROVIDERS.items() if names[0] in available)


def _present(device: Device) -> Device:
    if device in devices():
        return device
    _log.warning("ONNX Runtime has no %s provider here: the CPU runs the network", device)
    return "cpu"


def _element_types(entries: list[ort.NodeArg]) -> dict[str, str]:
    return {entry.name: _ELEMENT_TYPES.get(entry.type, entry.type) for entry in entries}
