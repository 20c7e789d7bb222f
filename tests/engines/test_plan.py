"""A plan is followed where it holds, and passed over with a word where it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrserve.engines.load import load_engine
from cxrserve.engines.plan import Plan, PlanStore, plan_of
from cxrserve.errors import BrokenPackage
from cxrserve.models.package import ModelPackage, read_package
from tests.tiny_package import tiny_graph, write_tiny_package


def _plan(**changes: Any) -> Plan:
    return Plan.model_validate(
        {
            "engine": "onnxruntime",
            "graph": "fp32",
            "precision": "fp32",
            "slots": 3,
            "threads": 2,
            "batch": 4,
            "images_per_s": 100.0,
            "difference": 0.001,
            **changes,
        }
    )


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return read_package(write_tiny_package(tmp_path / "tiny"))


def test_a_plan_is_followed(package: ModelPackage) -> None:
    engine = load_engine(package, plan=_plan())
    assert engine.name == "onnxruntime-cpu-fp32-2t"
    assert engine.slots == 3


def test_without_a_plan_onnx_runtime_serves(package: ModelPackage) -> None:
    assert load_engine(package).name == "onnxruntime-cpu-fp32"


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_plan_for_an_engine_that_is_not_installed_is_passed_over(
    package: ModelPackage,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("cxrserve.engines.load.find_spec", lambda name: None)
    assert load_engine(package, plan=_plan(engine=engine)).name == "onnxruntime-cpu-fp32"
    assert f"cxrserve[{engine}]" in caplog.text


def test_a_plan_for_a_graph_that_the_package_has_not_is_passed_over(
    package: ModelPackage, caplog: pytest.LogCaptureFixture
) -> None:
    plan = _plan(graph="int8", precision="int8")
    assert load_engine(package, plan=plan).name == "onnxruntime-cpu-fp32"
    assert "has no int8 graph" in caplog.text


def test_a_broken_package_is_broken_with_a_plan_too(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path / "broken", graph=tiny_graph(broken_map=True))
    with pytest.raises(BrokenPackage, match="mean"):
        load_engine(read_package(folder), plan=_plan())


def test_a_plan_is_kept_for_its_package_and_its_hardware(
    package: ModelPackage, tmp_path: Path
) -> None:
    here, there = PlanStore(tmp_path, hardware="here"), PlanStore(tmp_path, hardware="there")
    assert plan_of(package, here) is None
    path = here.write(package.digest, _plan())
    assert path is not None
    assert path.name == f"{package.digest.removeprefix('sha256:')}.json"
    assert plan_of(package, here) == _plan()
    assert plan_of(package, there) is None
    there.write(package.digest, _plan(slots=8))
    assert plan_of(package, here) == _plan()
    assert plan_of(package, there) == _plan(slots=8)
    assert PlanStore(tmp_path, hardware="here").read("sha256:other") is None


@pytest.mark.parametrize(
    "held", [b"", b"{", b"[]", b"\xff", b'{"here": 1}', b'{"here": {"engine": "pickle"}}']
)
def test_a_damaged_plan_counts_as_none(
    package: ModelPackage, tmp_path: Path, held: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = PlanStore(tmp_path, hardware="here")
    path = store.write(package.digest, _plan())
    assert path is not None
    path.write_bytes(held)
    assert plan_of(package, store) is None
    assert "tune again" in caplog.text
    store.write(package.digest, _plan())
    assert plan_of(package, store) == _plan()


def test_a_plan_with_no_slots_is_not_believed(package: ModelPackage, tmp_path: Path) -> None:
    store = PlanStore(tmp_path, hardware="here")
    path = store.write(package.digest, _plan())
    assert path is not None
    held = json.loads(path.read_text())
    held["here"]["slots"] = 0
    path.write_text(json.dumps(held))
    assert plan_of(package, store) is None


def test_without_a_folder_there_is_no_plan(package: ModelPackage) -> None:
    store = PlanStore(None)
    assert store.write(package.digest, _plan()) is None
    assert plan_of(package, store) is None
