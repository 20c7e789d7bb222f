"""What an exported model refuses when Triton loads it, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from load_tests.peers.triton_server import NOT_INSTALLED, Triton, is_installed

from tests.tiny_package import tiny_graph, write_tiny_package
from tests.triton.commands import export_triton
from tests.triton.poisonous import image, poisonous_graph

pytestmark = pytest.mark.server


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with the model `tiny`."""
    if not is_installed():
        pytest.skip(NOT_INSTALLED)
    write_tiny_package(tmp_path / "packages" / "tiny")
    assert export_triton(tmp_path / "models", tmp_path / "packages").exit_code == 0
    return tmp_path / "models"


def _refusal(models: Path, scratch: Path) -> str:
    triton = Triton(models, scratch)
    try:
        with pytest.raises(RuntimeError, match="did not become ready"):
            triton.start()
    finally:
        triton.stop()
    return triton.log.read_text()


def test_a_graph_that_was_exchanged_is_not_served(models: Path, tmp_path: Path) -> None:
    (models / "tiny" / "1" / "model.onnx").write_bytes(tiny_graph(bias=3.0))
    assert "export the model again" in _refusal(models, tmp_path)


def test_a_missing_onnxruntime_is_named_with_the_way_out(models: Path, tmp_path: Path) -> None:
    code = models / "tiny" / "1" / "model.py"
    code.write_text(
        code.read_text().replace(
            "import hashlib", "import sys; sys.modules['onnxruntime'] = None\nimport hashlib"
        )
    )
    assert "finds no onnxruntime" in _refusal(models, tmp_path)


def test_a_network_that_fails_on_the_phantom_never_becomes_ready(
    models: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    write_tiny_package(packages / "poisonous", name="poisonous", graph=poisonous_graph())
    assert export_triton(models, packages, "--model", "poisonous").exit_code == 0
    phantom = models / "poisonous" / "warmup" / "pixels"
    phantom.write_bytes(image(fails=True).tobytes())
    # ONNX Runtime's own words: Triton may die of a failed warm-up before it can name it.
    assert "indices element out of data bounds" in _refusal(models, tmp_path)
