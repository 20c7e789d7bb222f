"""The command line, as a person and as a script use it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrserve.cli import app
from tests.tiny_package import write_tiny_package

run = CliRunner().invoke


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    path = tmp_path / "out.png"
    assert run(app, ["phantom", str(path), "--side", "256"]).exit_code == 0
    return path


def test_a_phantom_is_read_as_json(phantom: Path) -> None:
    result = run(app, ["predict", "--json", str(phantom)])
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["file"] == str(phantom)
    assert [one["code"] for one in answer["image"]["warnings"]] == ["phantom"]
    (one,) = answer["results"]
    assert sum(finding["probability"] for finding in one["findings"]) == pytest.approx(1, abs=1e-5)


def test_many_files_get_a_row_each_and_one_refusal_does_not_stop_the_rest(
    phantom: Path, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    files = [phantom, letter, phantom, phantom, phantom]
    result = run(app, ["predict", "--json", *map(str, files)])
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["results" in line for line in lines] == [True, False, True, True, True]
    assert lines[1]["problem"]["code"] == "unsupported_media_type"


def test_the_table_names_findings_and_the_notice(phantom: Path) -> None:
    result = run(app, ["predict", str(phantom)], env={"COLUMNS": "200"})
    assert "pneumonia" in result.stdout
    assert "Research use only" in result.stdout


def test_an_unknown_model_is_named(phantom: Path) -> None:
    result = run(app, ["predict", "--model", "nosuch", "--json", str(phantom)])
    assert result.exit_code == 1
    assert "nosuch" in result.output


def test_config_says_where_a_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSERVE_HTTP_PORT", "3999")
    result = run(app, ["config"], env={"COLUMNS": "200"})
    (line,) = (line for line in result.stdout.splitlines() if "http_port" in line)
    assert "3999" in line
    assert "CXRSERVE_HTTP_PORT" in line


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSERVE_HTTP_PORT", "seventy")
    result = run(app, ["config"])
    assert result.exit_code == 2
    assert "CXRSERVE_HTTP_PORT" in result.output


def test_verify_fails_on_a_broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(app, ["models", "verify"]).exit_code == 0
    package = write_tiny_package(tmp_path / "models" / "tiny")
    (package / "model.onnx").write_bytes(b"altered")
    monkeypatch.setenv("CXRSERVE_MODELS_DIR", str(tmp_path / "models"))
    result = run(app, ["models", "verify"])
    assert result.exit_code == 1
    assert "model.onnx has sha256" in result.output


def test_a_card_is_shown() -> None:
    result = run(app, ["models", "show", "triage"])
    assert result.exit_code == 0
    assert "children" in result.stdout.lower()
    assert "triage" in run(app, ["models", "list"], env={"COLUMNS": "160"}).stdout


def test_an_odd_suffix_for_a_phantom_is_refused(tmp_path: Path) -> None:
    assert run(app, ["phantom", str(tmp_path / "out.tiff")]).exit_code == 2


def test_what_is_no_chest_is_refused_and_answered_by_force(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)).save(noise)
    refused = run(app, ["predict", "--json", str(noise)])
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["problem"]["reasons"] == ["not_a_radiograph"]
    forced = run(app, ["predict", "--json", "--force", str(noise)])
    assert forced.exit_code == 0
    reasons = json.loads(forced.stdout)["image"]["reasons"]
    assert [one["code"] for one in reasons] == ["not_a_radiograph"]


def test_a_grpc_port_that_is_taken_ends_the_start_and_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "cxrserve.cli", "serve"],
            env={**os.environ, "CXRSERVE_HOST": "127.0.0.1", "CXRSERVE_GRPC_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert str(port) in ended.stderr
    assert "CXRSERVE_GRPC_PORT" in ended.stderr
