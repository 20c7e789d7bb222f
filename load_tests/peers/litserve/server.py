# mypy: disable-error-code="import-not-found,misc,no-any-return"
"""LitServe: decode, batch, predict, unbatch, encode, as lightning.ai/docs/litserve shows them."""

import os

import litserve as ls
import numpy as np
from fastapi import Request
from load_tests.peers import network
from numpy.typing import NDArray

_Pixels = NDArray[np.uint8]
_Probabilities = NDArray[np.float32]


class ChestAPI(ls.LitAPI):
    """Probabilities of chest radiographs; the image is the part `image` of a form."""

    def setup(self, device: str) -> None:
        """Load the network, once a worker."""
        self.chest = network.ChestNetwork(threads=1)

    def decode_request(self, request: Request) -> _Pixels:
        """Decode one image; told by the annotation, LitServe hands in the form of a request."""
        return self.chest.pixels_of(request["image"].file)

    def batch(self, inputs: list[_Pixels]) -> _Pixels:
        """Stack the images of a batch."""
        return np.stack(inputs)

    def predict(self, x: _Pixels) -> _Probabilities:
        """Run a batch."""
        return self.chest.probabilities(x)

    def unbatch(self, output: _Probabilities) -> list[_Probabilities]:
        """A row an image."""
        return list(output)

    def encode_response(self, output: _Probabilities) -> dict[str, list[float]]:
        """What becomes the JSON answer."""
        return {"probabilities": output.tolist()}


class SingleChestAPI(ChestAPI):
    """The same without batching: LitServe then calls the steps for one image at a time."""

    batch = ls.LitAPI.batch
    unbatch = ls.LitAPI.unbatch

    def predict(self, x: _Pixels) -> _Probabilities:
        """Run one image."""
        return self.chest.probabilities(x[None])[0]


if __name__ == "__main__":
    size = int(os.environ.get("BENCH_MAX_BATCH", "8"))
    # Its documentation's batching example: 8 images, 10 ms. A worker a core, one thread of ONNX
    # Runtime each, because a worker decodes and predicts in one loop.
    api = ChestAPI(max_batch_size=size, batch_timeout=0.01) if size > 1 else SingleChestAPI()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=network.cores(), timeout=60)
    server.run(
        host="127.0.0.1",
        port=network.port(),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
