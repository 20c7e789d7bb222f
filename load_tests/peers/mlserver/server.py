# mypy: disable-error-code="import-not-found,misc"
"""MLServer: a custom runtime with adaptive batching, as docs.seldon.ai/mlserver shows it.

Run as a program it writes MLServer's own settings and becomes `mlserver start`.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from load_tests.peers import network
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class ChestRuntime(MLModel):
    """Probabilities of chest radiographs; the image is a BYTES tensor `[1]`, base64 in JSON."""

    async def load(self) -> bool:
        """Load the network, once a worker."""
        self.chest = network.ChestNetwork(threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decode and run a batch."""
        images = Base64Codec.decode_input(payload.inputs[0])
        pixels = np.stack([self.chest.pixels_of(image) for image in images])
        output = NumpyCodec.encode_output("probabilities", self.chest.probabilities(pixels))
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Write the settings and start MLServer."""
    folder = network.scratch()
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "http_port": network.port(),
                # Not asked, but MLServer listens on them; at 0 it takes what is free.
                "grpc_port": 0,
                "metrics_port": 0,
                "debug": False,
                # A worker process a core, one thread of ONNX Runtime each.
                "parallel_workers": network.cores(),
                "parallel_workers_timeout": 60,
            }
        )
    )
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "chest",
                "implementation": "load_tests.peers.mlserver.server.ChestRuntime",
                # Off by default; its documentation asks to find the values by experiment, and
                # shows 10 ms. On this CPU batches gain nothing, so short ones cost least.
                "max_batch_size": 8,
                "max_batch_time": 0.01,
            }
        )
    )
    os.chdir(folder)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", "."])  # noqa: S606


if __name__ == "__main__":
    main()
