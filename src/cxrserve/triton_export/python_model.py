# mypy: disable-error-code="import-not-found,misc"
"""ONNX Runtime on the CPU in Triton's Python backend; an export copies this file as `model.py`.

It runs in Triton's interpreter (3.8 or newer with numpy and onnxruntime), where there is no
cxrserve.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# Nothing leaves the hospital: ONNX Runtime's newer wheels upload telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class TritonPythonModel:
    """One instance: a session of its own, which runs one batch at a time."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph that the configuration names by its digest."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"], args["model_version"])
        graph = (folder / "model.onnx").read_bytes()
        found = hashlib.sha256(graph).hexdigest()
        if found != _parameter(config, "graph_sha256"):
            raise pb_utils.TritonModelException(
                f"{config['name']}: model.onnx has sha256 {found}, which config.pbtxt does not "
                "name: export the model again"
            )
        self._outputs = [output["name"] for output in config["output"]]
        self._session = _session(graph, int(_parameter(config, "intra_op_num_threads")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run what the dynamic batcher put together as one batch; an answer a request."""
        # Whether a client has gone is not asked: that ends a Triton 2.51 whose client just goes.
        return self._answers(requests)

    def _answers(self, requests: list[Any]) -> list[Any]:
        batches = [
            pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy() for request in requests
        ]
        asked = [request.requested_output_names() or self._outputs for request in requests]
        names = [name for name in self._outputs if any(name in some for some in asked)]
        try:
            whole = np.concatenate(batches) if len(batches) > 1 else batches[0]
            outputs = dict(zip(names, self._session.run(names, {"pixels": whole})))  # noqa: B905
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the requests' answer
            if len(requests) == 1:
                return [_error(f"ONNX Runtime failed: {error}", pb_utils.TritonError.INTERNAL)]
            # A request that breaks the batch fails alone.
            return [self._answers([request])[0] for request in requests]
        ends = np.cumsum([len(batch) for batch in batches])
        return [
            _answer({name: outputs[name][end - len(batch) : end] for name in some})
            for batch, end, some in zip(batches, ends, asked)  # noqa: B905
        ]


def _answer(outputs: dict[str, Any]) -> Any:
    for name, output in outputs.items():
        if not np.isfinite(output).all():
            return _error(f"`{name}` is not finite", pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, output) for name, output in outputs.items()]
    )


def _error(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _session(graph: bytes, threads: int) -> Any:
    try:
        import onnxruntime as ort  # noqa: PLC0415 - said in words where it is missing
    except ImportError as error:
        raise pb_utils.TritonModelException(
            "Triton's Python backend finds no onnxruntime: install it in the Python that starts "
            f"with Triton, or pack one and name it in EXECUTION_ENV_PATH ({error})"
        ) from error
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without it idle threads burn a core that another instance needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _parameter(config: dict[str, Any], key: str) -> str:
    value: str = config["parameters"][key]["string_value"]
    return value
