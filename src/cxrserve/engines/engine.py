"""What runs a network: one protocol, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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


class Errand:
    """What a batch that runs elsewhere is told: its time, and when nobody wants it any more.

    Args:
        deadline: on the clock of the queue, in seconds; an answer that comes later is of no use.
        expected_s: what the batch should take.
        level: of its most urgent image; 1 is the highest.
    """

    def __init__(self, *, deadline: float, expected_s: float, level: int = 0) -> None:
        self.deadline, self.expected_s, self.level = deadline, expected_s, level
        self._stopped = False
        self._on_stop: Callable[[], object] | None = None

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._stopped = True
        if self._on_stop is not None:
            self._on_stop()

    def on_stop(self, tell: Callable[[], object]) -> None:
        """Have this called then, from any thread, at least once; at once if that has been."""
        self._on_stop = tell
        if self._stopped:
            tell()


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """An engine whose network runs in another process, which may be gone."""

    @property
    def is_available(self) -> bool:
        """Whether it may be asked now."""

    @property
    def stand_in(self) -> Engine | None:
        """What runs the same network here while this cannot be asked."""

    @property
    def largest(self) -> int:
        """Images that one batch may hold."""

    def run_errand(self, pixels: NDArray[np.uint8], errand: Errand) -> Outputs | Masks:
        """As `run`, and no longer than the errand is of use.

        Raises:
            EngineFailure: it failed on these images.
            EngineUnavailable: it did not answer, whatever the images.
        """

    def when_out_of_reach(self, tell: Callable[[], None]) -> None:
        """Have this called, on the event loop, when it cannot be asked any more."""
