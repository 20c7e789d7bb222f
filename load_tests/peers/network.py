"""What every peer does with an image: plain Pillow and ONNX Runtime, as their users write it.

Needs numpy, Pillow and ONNX Runtime only: it runs in the peers' own environments.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image


def cores() -> int:
    """Cores that this server may use."""
    return int(os.environ["BENCH_CORES"])


def port() -> int:
    """Port that this server listens on, at 127.0.0.1."""
    return int(os.environ["BENCH_PORT"])


def scratch() -> Path:
    """A folder to write to; the benchmark deletes it."""
    return Path(os.environ["BENCH_SCRATCH"])


class ChestNetwork:
    """The network under test. Its methods may be called from several threads at once.

    Args:
        threads: threads of ONNX Runtime within one call. Cores divided by calls that run at once
            is what ONNX Runtime's documentation advises; more threads than cores only wait.
    """

    def __init__(self, *, threads: int) -> None:
        task: dict[str, Any] = json.loads(Path(os.environ["BENCH_TASK"]).read_text("utf-8"))
        self._side: int = task["side"]
        self._softmax: bool = task["activation"] == "softmax"
        self._scales = np.asarray(task["scales"], np.float32)
        self._offsets = np.asarray(task["offsets"], np.float32)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            task["graph"], options, providers=["CPUExecutionProvider"]
        )

    def pixels_of(self, image: bytes | BinaryIO | Image.Image) -> NDArray[np.uint8]:
        """Decode an image (if it is not yet) and fit it: uint8 `[1, side, side]`, grey."""
        if isinstance(image, bytes):
            image = io.BytesIO(image)
        if not isinstance(image, Image.Image):
            image = Image.open(image)
        grey = image.convert("L").resize((self._side, self._side), Image.Resampling.BILINEAR)
        return np.asarray(grey)[None]

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated probabilities float32 `[N, K]` of uint8 `[N, 1, side, side]`."""
        (logits,) = self._session.run(["logits"], {"pixels": pixels})
        scaled = np.asarray(logits, np.float32) * self._scales + self._offsets
        if not self._softmax:
            return np.asarray(1 / (1 + np.exp(-scaled)), np.float32)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
