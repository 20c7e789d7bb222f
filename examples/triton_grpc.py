"""Asks with NVIDIA's own client, over gRPC: `python examples/triton_grpc.py MODEL FILE...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton


def main() -> None:
    """Send all files in one request; print each one's labels, the most probable first."""
    name, *files = sys.argv[1:]
    client = triton.InferenceServerClient(os.environ.get("CXRSERVE_GRPC", "localhost:3001"))
    films = triton.InferInput("image", [len(files), 1], "BYTES")
    films.set_data_from_numpy(np.array([[Path(one).read_bytes()] for one in files], np.object_))
    wanted = triton.InferRequestedOutput("probabilities", class_count=14)
    answer = client.infer(name, [films], outputs=[wanted], client_timeout=60)
    for file, row in zip(files, answer.as_numpy("probabilities"), strict=True):
        print(file, *(label.decode() for label in row))


if __name__ == "__main__":
    main()
