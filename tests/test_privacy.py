"""Nothing leaves the hospital, and the core stays free of what could make it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

_SOURCE = Path(__file__).resolve().parents[1] / "src" / "cxrserve"


def test_onnx_runtime_holds_no_uploader_of_telemetry() -> None:
    libraries = list(Path(onnxruntime.__file__).parent.rglob("*.so*"))
    assert libraries
    for library in libraries:
        assert b"events.data.microsoft.com" not in library.read_bytes()


def test_an_updated_onnx_runtime_would_be_told_not_to_upload() -> None:
    script = "import cxrserve, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    out = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True
    )
    assert out.stdout.strip() == b"1"


@pytest.mark.parametrize("room", ["radiograph", "models", "batching", "findings"])
def test_the_core_imports_no_web_framework(room: str) -> None:
    for module in (_SOURCE / room).glob("*.py"):
        text = module.read_text()
        for framework in ("fastapi", "starlette", "bentoml", "httpx", "grpc"):
            assert f"import {framework}" not in text, module
            assert f"from {framework}" not in text, module
