"""Tuning finds a way that is exact enough, and serving follows it."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.engines.load import is_installed, load_engine
from cxrserve.engines.plan import Plan, PlanStore, Way, plan_of
from cxrserve.models.package import ModelPackage, read_package
from cxrserve.tuning import Trial, fastest, tune, ways
from tests.tiny_package import tiny_graph, write_tiny_package

_WAY = Way(engine="onnxruntime", graph="fp32", precision="fp32", slots=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a machine whose models folder holds one tiny package."""
    write_tiny_package(tmp_path / "models" / "tiny")
    monkeypatch.setenv("CXRSERVE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("CXRSERVE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _package_with_int8(folder: Path, int8: bytes) -> ModelPackage:
    """A package with the tiny fp32 graph, and `int8` for another."""
    write_tiny_package(folder)
    (folder / "model.int8.onnx").write_bytes(int8)
    (first,) = read_package(folder).manifest.graphs
    second = {
        "file": "model.int8.onnx",
        "precision": "int8",
        "sha256": hashlib.sha256(int8).hexdigest(),
    }
    return read_package(write_tiny_package(folder, graphs=[first.model_dump(), second]))


def test_tune_writes_the_plan_that_serving_follows(cache: Path) -> None:
    result = CliRunner().invoke(app, ["models", "tune", "tiny", "--seconds", "0.01", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    package = read_package(cache.parent / "models" / "tiny")
    plan = plan_of(package, PlanStore(cache))
    assert plan is not None
    assert plan == Plan.model_validate(said["plan"])
    assert plan.images_per_s == max(
        rate for trial in said["trials"] for rate in trial["images_per_s"].values()
    )
    assert load_engine(package, plan=plan).slots == plan.slots
    assert Path(said["written"]).parent == cache / "plans"


def test_tune_shows_a_table_and_writes_where_it_is_told(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    asked = ["models", "tune", "tiny", "--seconds", "0.01", "--cache-dir", str(elsewhere)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "images/s" in result.stdout
    assert "fastest" in result.stdout
    assert list((elsewhere / "plans").iterdir())
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_tune_names_a_setting_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSERVE_HTTP_PORT", "none")
    result = CliRunner().invoke(app, ["models", "tune", "tiny"])
    assert result.exit_code == 2
    assert "CXRSERVE_HTTP_PORT" in result.stderr


@pytest.mark.usefixtures("cache")
def test_tune_says_which_package_is_not_there() -> None:
    result = CliRunner().invoke(app, ["models", "tune", "heart"])
    assert result.exit_code == 1
    assert "no package 'heart'" in result.stderr


def test_every_installed_engine_is_tried_and_the_default_first(tmp_path: Path) -> None:
    package = read_package(write_tiny_package(tmp_path / "tiny"))
    found = ways(package)
    assert found[0].engine == "onnxruntime"
    assert found[0].graph == "fp32"
    assert found[0].threads == 1
    assert len(set(found)) == len(found)
    for engine in ("openvino", "torch"):
        assert is_installed(engine) == any(way.engine == engine for way in found)


def test_a_graph_that_answers_otherwise_is_never_the_plan(tmp_path: Path) -> None:
    package = _package_with_int8(tmp_path / "tiny", tiny_graph(bias=-6.0))
    candidates = [
        Way(engine="onnxruntime", graph=graph, precision=graph, slots=1)
        for graph in ("fp32", "int8")
    ]
    exact, off = tune(package, candidates, clock=time.perf_counter, seconds=0.01)
    assert exact.plan() is not None
    assert exact.difference == pytest.approx(0, abs=1e-6)
    assert "differs by more than 0.03" in off.refused
    assert not off.images_per_s
    assert off.plan() is None


def test_a_way_that_cannot_be_loaded_does_not_end_the_tuning(tmp_path: Path) -> None:
    package = _package_with_int8(tmp_path / "tiny", tiny_graph(broken_map=True))
    candidates = [Way(engine="onnxruntime", graph="int8", precision="int8", slots=1), _WAY]
    broken, sound = tune(package, candidates, clock=time.perf_counter, seconds=0.01)
    assert "mean(cam)" in broken.refused
    assert sound.plan() is not None


def test_the_fastest_way_wins_at_its_fastest_batch() -> None:
    slow = Trial(_WAY, 0.0, {1: 10.0, 4: 20.0})
    fast = Trial(_WAY.model_copy(update={"slots": 2}), 0.0, {1: 30.0, 4: 25.0})
    refused = Trial(_WAY, 0.5, {1: 99.0}, refused="differs")
    plan = fastest([slow, fast, refused])
    assert plan is not None
    assert (plan.slots, plan.batch, plan.images_per_s) == (2, 1, 30.0)
    assert fastest([refused]) is None
