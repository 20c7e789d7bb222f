"""What an export is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cxrserve.batching.line import Priority


class Backend(StrEnum):
    """What runs a network inside Triton."""

    PYTHON = "python"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    PYTORCH = "pytorch"

    @property
    def on_gpu(self) -> bool:
        """All but ONNX Runtime in Triton's Python backend."""
        return self is not Backend.PYTHON


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How every model of one export is to be served.

    Attributes:
        backend: what runs the networks.
        slo_ms: time to answer of each class, which is also the longest wait in Triton's queue.
        instances: batches in flight; on a GPU, of each GPU.
        threads: threads of one instance (python only).
        precision: the package's graph; None: its most exact.
        fp16: let TensorRT compute in fp16 (onnxruntime and tensorrt).
        engine_cache: a folder on Triton's node, where TensorRT's engines are kept.
        workspace_mib: memory that TensorRT may use while it builds and runs an engine.
        queue: requests of a class that may wait where no latency table says how many can.
    """

    backend: Backend
    slo_ms: Mapping[Priority, float]
    instances: int
    threads: int = 1
    precision: str | None = None
    fp16: bool = False
    engine_cache: str = "."
    workspace_mib: int = 1024
    queue: int = 256


def slo_of(text: str) -> dict[Priority, float]:
    """Milliseconds of each class from one number for all, or three: stat,urgent,routine.

    Raises:
        ValueError: other than one or three numbers, or one that is not above zero.
    """
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) == 1:
        numbers *= len(Priority)
    if len(numbers) != len(Priority) or not all(0 < number < float("inf") for number in numbers):
        raise ValueError(f"one time or three (stat,urgent,routine), each above 0, not {text!r}")
    return dict(zip(Priority, numbers, strict=True))
