"""The script for GPUs, tried on a processor: it measures, and its figures hang together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from load_tests import gpu
from tests.tiny_package import write_tiny_package


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_one_call_gives_table_limit_and_goodput(tmp_path: Path, engine: str) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    out = tmp_path / "figures.json"
    gpu.main(
        [
            *("--models", "tiny", "--models-dir", str(tmp_path / "models"), "--out", str(out)),
            *("--engine", engine, "--device", "cpu", "--precision", "fp32", "--slots", "1"),
            *("--seconds", "0.3", "--slo-ms", "50"),
        ]
    )
    written = json.loads(out.read_text("utf-8"))
    (tiny,) = written["models"]
    assert engine in tiny["engine"]
    assert tiny["table_ms"]["1"] > 0
    assert 0 <= tiny["ratio"] <= 1
    assert tiny["goodput_rate"] <= tiny["offline_rate"]
    assert tiny["goodput_rate"] == 0 or tiny["p99_ms"] <= 50
