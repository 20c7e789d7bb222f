"""Logits become findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrserve.engines.engine import Outputs
from cxrserve.errors import EngineFailure, UnknownOption
from cxrserve.findings.interpret import check_map, choose_operating_point, find, probabilities
from cxrserve.models.manifest import Calibration, Manifest
from cxrserve.models.package import read_package
from tests.tiny_package import write_tiny_package


def manifest(tmp_path: Path, **changes: Any) -> Manifest:
    return read_package(write_tiny_package(tmp_path / "tiny", **changes)).manifest


def logits(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_softmax_and_sigmoid_are_what_they_say() -> None:
    both = probabilities(logits(0.0, np.log(3)), "softmax", Calibration())
    assert both == pytest.approx([0.25, 0.75])
    each = probabilities(logits(0.0, np.log(3)), "sigmoid", Calibration())
    assert each == pytest.approx([0.5, 0.75])


def test_huge_logits_do_not_overflow() -> None:
    assert probabilities(logits(-1e4, 1e4), "softmax", Calibration()) == pytest.approx([0, 1])


def test_temperature_softens() -> None:
    calibration = Calibration(method="temperature", temperature=2.0)
    assert probabilities(logits(0.0, 2 * np.log(3)), "softmax", calibration)[1] == pytest.approx(
        0.75
    )


def test_the_threshold_itself_is_positive(tmp_path: Path) -> None:
    findings = find(manifest(tmp_path), logits(0.0, 0.0), "balanced")
    assert [finding.positive for finding in findings] == [None, True]
    below = find(manifest(tmp_path), logits(0.01, 0.0), "balanced")
    assert below[1].positive is False


def test_another_operating_point_decides_otherwise(tmp_path: Path) -> None:
    undecided = logits(1.0, 0.0)
    assert find(manifest(tmp_path), undecided, "balanced")[1].positive is False
    assert find(manifest(tmp_path), undecided, "screening")[1].positive is True


def test_an_unknown_operating_point_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownOption) as error:
        choose_operating_point(manifest(tmp_path), "nosuch")
    assert "balanced, screening" in error.value.advice


def test_an_untrained_label_is_answered_with_null(tmp_path: Path) -> None:
    labels = [{"name": "normal"}, {"name": "pneumonia", "trained": False}]
    untrained = find(manifest(tmp_path, labels=labels), logits(0, 9), "balanced")[1]
    assert (untrained.probability, untrained.positive) == (None, None)


def test_a_map_that_does_not_explain_its_logit_is_not_given() -> None:
    cam = np.ones((1, 2, 3, 3), np.float32)
    bias = logits(0.0, 1.0)
    check_map(Outputs(np.array([[1.0, 2.0]], np.float32), cam, bias))
    with pytest.raises(EngineFailure):
        check_map(Outputs(np.array([[1.0, 2.1]], np.float32), cam, bias))
