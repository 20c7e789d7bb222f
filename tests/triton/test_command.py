"""`cxrserve export triton`, as an operator uses it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.engines.hardware import cores
from tests.tiny_package import write_tiny_package
from tests.triton.commands import export_triton
from tests.triton.conftest import MODELS_DIR


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_tiny_package(tmp_path / "models" / "tiny" / "1.0.0")
    write_tiny_package(tmp_path / "models" / "tiny" / "2.0.0", version="2.0.0", bias=1.0)
    return tmp_path / "models"


def _config(folder: Path, name: str) -> triton.ModelConfig:
    text = (folder / name / "config.pbtxt").read_text("utf-8")
    return text_format.Parse(text, triton.ModelConfig())


def test_the_newest_version_is_exported_unless_another_is_named(
    models: Path, tmp_path: Path
) -> None:
    assert export_triton(tmp_path / "newest", models).exit_code == 0
    assert (tmp_path / "newest" / "tiny" / "2" / "model.py").is_file()
    assert export_triton(tmp_path / "old", models, "--model", "tiny@1.0.0").exit_code == 0
    assert (tmp_path / "old" / "tiny" / "1" / "model.py").is_file()
    refused = export_triton(tmp_path / "none", models, "--model", "tiny@3.0.0")
    assert refused.exit_code == 1
    assert "tiny@3.0.0" in refused.output


def test_the_python_backend_is_measured_on_this_machine(models: Path, tmp_path: Path) -> None:
    ended = export_triton(tmp_path / "out", models, "--slo-ms", "500")
    assert ended.exit_code == 0
    config = _config(tmp_path / "out", "tiny")
    assert 1 <= config.max_batch_size <= 16
    (group,) = config.instance_group
    assert group.count == cores()
    assert config.parameters["intra_op_num_threads"].string_value == "1"


def test_a_time_that_cannot_be_kept_is_refused(models: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"sizes": [1], "seconds": [0.4]}))
    options = ("--slo-ms", "500", "--table", f"tiny={slow}")
    refused = export_triton(tmp_path / "out", models, *options)
    assert refused.exit_code == 1
    assert "400.0 ms" in refused.output
    assert not (tmp_path / "out" / "tiny").exists()


def test_a_gpu_s_times_are_not_guessed(models: Path, tmp_path: Path) -> None:
    ended = export_triton(tmp_path / "out", models, "--backend", "onnxruntime")
    assert ended.exit_code == 0
    assert "not measured on a GPU" in ended.output
    batching = _config(tmp_path / "out", "tiny").dynamic_batching
    assert not batching.preferred_batch_size
    assert batching.max_queue_delay_microseconds == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--slo-ms", "soon"), "soon"),
        (("--table", "tiny"), "NAME=FILE"),
        (("--table", "tiny=/nowhere.json"), "/nowhere.json"),
    ],
)
def test_a_wrong_option_is_named(
    models: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    refused = export_triton(tmp_path / "out", models, *options)
    assert refused.exit_code == 2
    assert words in refused.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("backend", "words"), [("pytorch", "only fp32 graphs"), ("tensorrt", "around zero")]
)
def test_an_int8_graph_is_refused_by_what_cannot_run_it_and_the_others_are_written(
    tmp_path: Path, backend: str, words: str
) -> None:
    options = ("--backend", backend, "--model", "nih14-densenet121", "--model", "triage")
    ended = export_triton(tmp_path / "out", MODELS_DIR, *options)
    assert ended.exit_code == 1
    assert words in ended.output
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["triage"]


def test_a_missing_extra_is_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cxrserve.triton_export.torchscript", None)
    refused = export_triton(tmp_path / "out", models, "--backend", "pytorch")
    assert refused.exit_code == 1
    assert "cxrserve[torch]" in refused.output


def test_export_without_a_recipe_says_what_is_missing() -> None:
    ended = CliRunner().invoke(app, ["export"], env={"CXRSERVE_DATA_DIR": "data"})
    assert ended.exit_code == 2
    assert "--recipe" in ended.output
