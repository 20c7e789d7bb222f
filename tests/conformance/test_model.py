"""What the suite sends, by a model's metadata."""

from __future__ import annotations

from typing import Any

import pytest

from cxrserve.conformance.model import Model, Options, read_model
from cxrserve.conformance.verdicts import Failed, NotApplicable

_CHEST: dict[str, Any] = {
    "name": "chest",
    "versions": ["1"],
    "platform": "onnx_onnxv1",
    "inputs": [
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 1, 4, 4]},
        {"name": "image", "datatype": "BYTES", "shape": [-1, 1]},
    ],
    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
}


def _chest(*optional: str) -> Model:
    return read_model(_CHEST, frozenset(optional))


def _names(model: Model, options: Options) -> list[str]:
    return [tensor.name for tensor in model.sample(options)]


def test_free_sizes_are_one_and_elements_zero() -> None:
    (pixels,) = _chest().sample(Options(inputs=("pixels",)))
    assert pixels.shape == (1, 1, 4, 4)
    assert pixels.elements == (0,) * 16


def test_every_required_input_is_sent() -> None:
    assert _names(_chest(), Options()) == ["pixels", "image"]
    assert _names(_chest("image"), Options()) == ["pixels"]


def test_the_first_is_sent_where_each_is_optional() -> None:
    assert _names(_chest("pixels", "image"), Options()) == ["pixels"]


def test_a_bytes_input_is_asked_of_its_own_if_its_content_is_known() -> None:
    options = Options(inputs=("pixels",), payload=b"an image")
    (image,) = _chest().bytes_sample(options)
    assert (image.name, image.elements) == ("image", (b"an image",))
    with pytest.raises(NotApplicable, match="--bytes-file"):
        _chest().bytes_sample(Options(inputs=("pixels",)))


def test_an_input_that_is_not_there_is_a_failure_not_a_silence() -> None:
    with pytest.raises(Failed, match="pixel'"):
        _chest().sample(Options(inputs=("pixel",)))


def test_arithmetic_is_not_expected_of_other_models() -> None:
    with pytest.raises(NotApplicable, match="simple"):
        _chest().needs_simple()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", ""),
        ("inputs", []),
        ("inputs", None),
        ("outputs", [5]),
        ("inputs", [{"name": "a", "datatype": "float", "shape": [1]}]),
        ("inputs", [{"name": "a", "datatype": "FP32", "shape": [-2]}]),
        ("inputs", [{"name": "a", "datatype": "FP32", "shape": "1"}]),
    ],
)
def test_metadata_that_are_wrong_are_refused(member: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_model(_CHEST | {member: value})
