"""NVIDIA's perf_analyzer profiles this service as it does a Triton."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from load_tests.peers import perf_analyzer

from tests.acceptance.conftest import Server

MODEL = "nih14-densenet121"

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        bool(perf_analyzer.missing()),
        reason=f"perf_analyzer is not installed: run {perf_analyzer.missing()}",
    ),
]


@pytest.mark.parametrize("wire", ["grpc", "http"])
def test_it_measures_and_finds_our_statistics(server: Server, tmp_path: Path, wire: str) -> None:
    with server.client() as client:
        metadata = client.get(f"/v2/models/{MODEL}").json()
    (shape,) = (one["shape"][1:] for one in metadata["inputs"] if one["name"] == "pixels")
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = tmp_path / "data.json"
    content = {"content": pixels.ravel().tolist(), "shape": shape}
    data.write_text(json.dumps({"data": [{"pixels": content}]}))
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    address = server.grpc if wire == "grpc" else server.url.removeprefix("http://")
    printed = perf_analyzer.run(
        [
            *("-m", MODEL, "-u", address, "-i", wire, "--input-data", str(data)),
            *("--concurrency-range", "2", "--measurement-interval", "1500"),
            *("--stability-percentage", "90", "--max-trials", "4"),
        ],
        scratch=libraries,
        timeout_s=120,
    )
    assert "warning" not in printed.lower(), printed
    assert "failed" not in printed.lower(), printed
    rate = re.search(r"Throughput: ([\d.]+) infer/sec", printed)
    assert rate, printed
    assert float(rate[1]) > 1, printed
    # The server's own figures, not the client's alone.
    inside = re.search(
        r"Server:\s*\n\s*Inference count: (\d+)\s*\n\s*Execution count: (\d+)", printed
    )
    assert inside, printed
    assert int(inside[1]) > 0, printed
    assert re.search(r"compute infer \d+ usec", printed), printed
