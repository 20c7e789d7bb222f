"""`cxrserve page DIR` writes all that a plain web server needs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.page.files import page_files
from cxrserve.page.local_models import local_models
from tests.tiny_package import write_tiny_package


def test_the_page_is_written_with_its_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_package(tmp_path / "models" / "tb-mobilenetv2", name="tb-mobilenetv2")
    write_tiny_package(tmp_path / "models" / "other", name="other")
    monkeypatch.setenv("CXRSERVE_MODELS_DIR", str(tmp_path / "models"))
    folder = tmp_path / "page"
    result = CliRunner().invoke(app, ["page", str(folder)])
    assert result.exit_code == 0, result.output
    for name, file in page_files().items():
        assert (folder / name).read_bytes() == file.data
    told = json.loads((folder / "about.json").read_text("utf-8"))
    assert told["service"] is None
    (model,) = told["local"]["models"]
    assert model["name"] == "tb-mobilenetv2"
    graph = (folder / model["graph"]["address"]).read_bytes()
    assert hashlib.sha256(graph).hexdigest() == model["graph"]["sha256"]


def test_a_broken_package_is_left_out(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path / "tb-mobilenetv2", name="tb-mobilenetv2")
    assert len(local_models(tmp_path)) == 1
    (folder / "model.onnx").write_bytes(b"altered")
    assert not local_models(tmp_path)
