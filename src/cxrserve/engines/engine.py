"""What runs a network: one protocol, whatever is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the graph contract promises of a classifier for N images (design decision 3).

    Attributes:
        logits: float32 `[N, K]`.
        cam: float32 `[N, K, h, w]`, with `mean(cam) + bias == logit`.
        bias: float32 `[K]`, the head's: what is added to a map's mean to give its logit.
    """

    logits: NDArray[np.float32]
    cam: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Masks:
    """What the graph contract promises of a segmentation model for N images.

    Attributes:
        mask: float32 `[N, C, h, w]`, probabilities 0..1.
    """

    mask: NDArray[np.float32]


class Runs(Protocol):
    """What is known of anything that runs a graph."""

    @property
    def name(self) -> str:
        """What answers call it: engine, device and precision, e.g. `onnxruntime-cpu-fp32`."""

    @property
    def precision(self) -> str:
        """Of its arithmetic: `fp32`, `bf16`, `fp16` or `int8`."""

    @property
    def slots(self) -> int:
        """Calls of `run` that may be in flight at once; more wait inside."""

    @property
    def independent_slots(self) -> bool:
        """True: each slot has cores of its own. False: they share one device, as on a GPU."""

    def close(self) -> None:
        """Free what it holds."""


class Engine(Runs, Protocol):
    """Runs batches of one model. `run` may be called from several threads at once."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each output of one image, without the batch: `logits`, `cam` or `mask`."""

    def run(self, pixels: NDArray[np.uint8]) -> Outputs | Masks:
        """Run one batch: a segmentation model gives `Masks`, every other `Outputs`.

        Args:
            pixels: uint8 `[N, 1, side, side]`.

        Raises:
            EngineFailure: the runtime failed, or gave something that is not finite.
        """
