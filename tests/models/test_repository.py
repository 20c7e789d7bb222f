"""Packages are served as what their digests say, or named and left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.errors import BrokenPackage, ModelNotFound
from cxrserve.models.package import read_package
from cxrserve.models.repository import ModelRepository
from tests.tiny_package import tiny_graph, write_tiny_package


def load(folder: Path) -> ModelRepository:
    return ModelRepository.load(folder, load_onnx_cpu)


def reference(*, label: str = "pneumonia", **changes: Any) -> dict[str, Any]:
    """A reference of one label, with `changes` in it."""
    bins = {"edges": [0.3, 0.7], "shares": [0.3, 0.4, 0.3], "tenths": [0.1] * 10}
    said = {**bins, "positive_rate": 0.5, "mean": 0.5, **changes}
    return {"films": "val", "images": 100, "labels": {label: said}}


def test_an_altered_graph_is_refused(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "tiny")
    graph = bytearray((package / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (package / "model.onnx").write_bytes(graph)
    with pytest.raises(BrokenPackage, match=r"model\.onnx has sha256"):
        read_package(package)


def test_an_altered_card_is_refused(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "tiny", files={"MODEL_CARD.md": "0" * 64})
    (package / "MODEL_CARD.md").write_text("better than it is")
    with pytest.raises(BrokenPackage, match="MODEL_CARD"):
        read_package(package)


@pytest.mark.parametrize("name", ["../other/model.onnx", "/etc/passwd"])
def test_a_package_cannot_name_files_outside_itself(tmp_path: Path, name: str) -> None:
    package = write_tiny_package(tmp_path / "tiny", files={name: "0" * 64})
    with pytest.raises(BrokenPackage, match="outside the package"):
        read_package(package)


def test_the_digest_changes_with_any_file(tmp_path: Path) -> None:
    one = read_package(write_tiny_package(tmp_path / "one"))
    same = read_package(write_tiny_package(tmp_path / "same"))
    other = read_package(write_tiny_package(tmp_path / "other", bias=0.5))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"operating_points": {"balanced": {"nosuch": 0.5}}}, "unknown labels"),
        ({"operating_points": {"balanced": {"pneumonia": 1.5}}}, "outside 0..1"),
        ({"default_operating_point": "nosuch"}, "not among the operating points"),
        ({"version": "newest"}, "version"),
        ({"pickle": "model.pkl"}, "pickle"),
        ({"labels": [{"name": "a"}, {"name": "a"}]}, "repeat"),
        ({"reference": reference(label="nosuch")}, "reference names unknown labels"),
        ({"reference": reference(edges=[0.7, 0.3])}, "edges do not rise"),
        ({"reference": reference(edges=[0.5])}, "1 edges part 2 bins"),
        ({"reference": reference(shares=[0.5, 0.2, 0.2])}, "shares sum up to 0.9"),
        ({"reference": reference(shares=[1.0, 0.0, 0.0])}, "greater than 0"),
        ({"reference": reference(tenths=[0.2] * 10)}, "tenths sum up to 2"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_named(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(BrokenPackage, match=fault):
        read_package(write_tiny_package(tmp_path / "tiny", **change))


def test_a_package_may_have_a_reference_or_none(tmp_path: Path) -> None:
    package = read_package(write_tiny_package(tmp_path / "with", reference=reference()))
    assert package.manifest.reference is not None
    assert package.manifest.reference.labels["pneumonia"].shares == (0.3, 0.4, 0.3)
    assert read_package(write_tiny_package(tmp_path / "old")).manifest.reference is None


def test_broken_packages_are_named_and_the_rest_is_served(tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "good", name="good")
    write_tiny_package(tmp_path / "altered", name="altered")
    (tmp_path / "altered" / "model.onnx").write_bytes(b"not the graph")
    (tmp_path / "empty").mkdir()
    repository = load(tmp_path)
    assert repository.names() == ("good",)
    assert {one.folder for one in repository.left_out} == {"altered", "empty"}
    repository.close()


def test_a_graph_whose_map_does_not_explain_its_logits_is_left_out(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "tiny")
    graph = tiny_graph(broken_map=True)
    write_tiny_package(
        tmp_path / "tiny",
        graphs=[{"file": "model.onnx", "precision": "fp32", "sha256": _sha256(graph)}],
    )
    (package / "model.onnx").write_bytes(graph)
    (left_out,) = load(tmp_path).left_out
    assert "mean(cam) + bias == logit" in left_out.reason


def test_versions_stand_side_by_side_and_the_newest_answers(tmp_path: Path) -> None:
    for version in ("1.2.0", "1.10.0", "1.9.0"):
        write_tiny_package(tmp_path / "tiny" / version, version=version)
    repository = load(tmp_path)
    assert repository.get("tiny").manifest.version == "1.10.0"
    assert repository.get("tiny", "1.2.0").manifest.version == "1.2.0"
    assert repository.get("tiny@1.9.0").manifest.version == "1.9.0"
    with pytest.raises(ModelNotFound) as missing:
        repository.get("tiny@3")
    assert "tiny@1.10.0" in missing.value.facts["loaded"]
    repository.close()


def test_the_same_version_twice_is_not_silently_one_of_them(tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "a", name="tiny")
    write_tiny_package(tmp_path / "b", name="tiny", bias=1.0)
    repository = load(tmp_path)
    (left_out,) = repository.left_out
    assert "twice" in left_out.reason
    repository.close()


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
