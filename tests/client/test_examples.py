"""The examples run as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.conftest import Serving, film

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two films, with names as people give them, and a letter."""
    contents = {"a film, 1;2.png": film(30), "b.png": film(200), "letter.pdf": b"%PDF-1.7"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [str(tmp_path / name) for name in contents]


def run(url: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CXRSERVE_URL": url}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_predict_answers_every_file(serving: Serving, files: list[str]) -> None:
    with serving() as url:
        shown = run(url, sys.executable, str(_EXAMPLES / "predict.py"), *files)
    assert shown.returncode == 1, shown.stderr
    lines = dict(line.split(": ", 1) for line in shown.stdout.splitlines() if ": " in line)
    assert "pneumonia 0." in lines["a film, 1;2.png"]
    assert "pneumonia 0.99*" in lines["b.png"] or "pneumonia 1.00*" in lines["b.png"]
    assert "PDF" in lines["letter.pdf"]
    assert "Research use only" in shown.stdout


def test_explain_writes_a_picture(serving: Serving, files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    script = str(_EXAMPLES / "explain.py")
    with serving() as url:
        shown = run(url, sys.executable, script, files[1], "pneumonia", str(out))
        refused = run(url, sys.executable, script, files[1], "gout", str(out))
    assert shown.returncode == 0, shown.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "pneumonia: " in shown.stdout
    assert refused.returncode == 1
    assert "choose one of" in refused.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_does_the_same(serving: Serving, files: list[str]) -> None:
    with serving() as url:
        shown = run(url, "sh", str(_EXAMPLES / "curl.sh"), *files)
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines() if line.startswith('{"name"')]
    by_name = {line["name"]: line for line in lines}
    assert by_name.keys() == {Path(file).name for file in files}
    assert "answer" in by_name["a film, 1;2.png"]
    assert by_name["letter.pdf"]["problem"]["status"] == 415
