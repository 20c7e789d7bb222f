# mypy: disable-error-code="import-not-found,misc"
"""The model that Triton's Python backend loads: one instance a process."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from load_tests.peers import network


class TritonPythonModel:
    """Probabilities of chest radiographs; the image is a BYTES tensor `[batch, 1]`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network."""
        self.chest = network.ChestNetwork(threads=1)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode and run what the dynamic batcher put together; an answer a request."""
        images = [
            pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)[0]
            for request in requests
        ]
        pixels = np.stack([self.chest.pixels_of(image) for image in images])
        rows = self.chest.probabilities(pixels)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", row[None])])
            for row in rows
        ]
