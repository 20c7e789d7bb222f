# mypy: disable-error-code="untyped-decorator,misc,type-arg"
"""Stock BentoML: a service with its own adaptive batching, as docs.bentoml.com shows it.

Max batch size and latency stay at BentoML's defaults (100; 60 s) unless BENCH_MAX_LATENCY_MS asks
for the latency that a team with an SLO would set.
"""

import os
from typing import Any

import bentoml
import numpy as np
from load_tests.peers import network
from PIL.Image import Image

_latency = os.environ.get("BENCH_MAX_LATENCY_MS")
_limits: dict[str, Any] = {"max_latency_ms": int(_latency)} if _latency else {}


# One worker, its default: each worker would batch for itself. BentoML runs one batch at a time, so
# ONNX Runtime gets every core.
@bentoml.service(workers=1)
class Chest:
    """Probabilities of chest radiographs."""

    def __init__(self) -> None:
        self.chest = network.ChestNetwork(threads=network.cores())

    @bentoml.api(batchable=True, **_limits)
    def predict(self, images: list[Image]) -> np.ndarray:
        """Decode and run a batch; a row of probabilities an image."""
        return self.chest.probabilities(np.stack([self.chest.pixels_of(one) for one in images]))
