"""No class map is shown that does not explain its logit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrserve.engines.engine import Outputs
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.errors import EngineFailure
from cxrserve.models.repository import ModelRepository
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph
from cxrserve.reporting.explanation import explained
from cxrserve.reporting.reading import Reading
from cxrserve.reporting.result import result_of
from tests.tiny_package import write_tiny_package


def reading(tmp_path: Path, *, off_by: float) -> Reading:
    write_tiny_package(tmp_path / "tiny")
    (model,) = ModelRepository.load(tmp_path, load_onnx_cpu)
    cam = np.ones((1, 2, 4, 4), np.float32)
    logits = np.full((1, 2), 1 + off_by, np.float32)
    outputs = Outputs(logits, cam, np.zeros(2, np.float32))
    return Reading(model=model, operating_point="balanced", outputs=outputs, engine="here")


def test_an_explanation_is_checked(tmp_path: Path) -> None:
    assert explained(reading(tmp_path, off_by=0), "pneumonia").index == 1
    with pytest.raises(EngineFailure, match="does not explain the logit"):
        explained(reading(tmp_path, off_by=0.1), "pneumonia")


def test_a_result_with_heat_maps_is_checked(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32), np.uint8)
    film = Radiograph(pixels=pixels, format=ImageFormat.PNG, width=32, height=32)
    assert result_of(reading(tmp_path, off_by=0), film, explain=True).findings[1].heat_map
    assert result_of(reading(tmp_path, off_by=0.1), film, explain=False).findings
    with pytest.raises(EngineFailure, match="does not explain the logit"):
        result_of(reading(tmp_path, off_by=0.1), film, explain=True)
