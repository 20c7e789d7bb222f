"""Captured CUDA graphs, one for each size of batch: no launch waits for Python."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrserve.engines.latency import GPU_SIZES

# PyTorch asks for some runs before a capture (docs, "CUDA semantics": CUDA Graphs).
_RUNS_BEFORE_CAPTURE = 3


@dataclass(frozen=True, slots=True)
class _Captured:
    pixels: Tensor
    outputs: list[Tensor]
    graph: Any


class CudaGraphs:
    """A network's forward pass on a stream of its own; not for two threads at once.

    A batch is filled up to the next captured size; larger ones are split.

    Args:
        forward: pixels on the GPU to outputs on the GPU.
        side: input side in pixels.
        sizes: sizes to capture, ascending.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], list[Tensor]],
        *,
        side: int,
        sizes: Sequence[int] = GPU_SIZES,
    ) -> None:
        self._forward = forward
        self._sizes = tuple(sizes)
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # Pinned, or the copy would wait for the processor.
        self._pinned = torch.empty((self._sizes[-1], 1, side, side), dtype=torch.uint8).pin_memory()
        self._captured = {size: self._capture(size, side) for size in self._sizes}

    def run(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The outputs of one batch, in the network's order."""
        largest = self._sizes[-1]
        parts = [
            self._run_one(pixels[start : start + largest])
            for start in range(0, len(pixels), largest)
        ]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run_one(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        count = len(pixels)
        captured = self._captured[self._sizes[bisect_left(self._sizes, count)]]
        self._pinned[:count].copy_(torch.from_numpy(pixels))
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            captured.pixels[:count].copy_(self._pinned[:count], non_blocking=True)
            captured.graph.replay()
            # To the processor: waits for this stream alone.
            return [output[:count].cpu().numpy() for output in captured.outputs]

    def _capture(self, size: int, side: int) -> _Captured:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            pixels = torch.zeros((size, 1, side, side), dtype=torch.uint8, device="cuda")
            for _ in range(_RUNS_BEFORE_CAPTURE):
                self._forward(pixels)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                outputs = self._forward(pixels)
        return _Captured(pixels, outputs, graph)
