# mypy: disable-error-code="import-not-found,misc"
"""The model of NVIDIA's examples that returns its strings, for Triton's Python backend."""

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """OUTPUT0 = INPUT0: BYTES `[batch, n]`."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself."""
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUTPUT0",
                        pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy(),
                    )
                ]
            )
            for request in requests
        ]
