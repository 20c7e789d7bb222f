"""Tensors survive the wire, and nothing that comes over it is worse than a bad tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cxrserve.errors import BadTensor
from cxrserve.oip.tensors import BYTES, DTYPES, Tensor, tensor_of_raw, tensor_of_values

_SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
_NAMES = st.sampled_from([*DTYPES, BYTES, "BF16", "", "uint8"])


@given(st.data(), st.sampled_from(sorted(DTYPES)))
def test_numbers_come_back_from_their_bytes(data: st.DataObject, datatype: str) -> None:
    sent = data.draw(arrays.arrays(DTYPES[datatype], _SHAPES))
    raw = Tensor("x", datatype, sent.shape, sent).raw()
    got = tensor_of_raw("x", datatype, sent.shape, memoryview(raw))
    assert isinstance(got.data, np.ndarray)
    assert got.data.shape == sent.shape
    assert got.data.dtype == DTYPES[datatype]
    assert got.data.tobytes() == sent.tobytes() == got.raw()
    assert got.nbytes() == len(raw)


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_byte_strings_come_back_from_their_bytes(sent: list[bytes]) -> None:
    raw = Tensor("x", BYTES, (len(sent), 1), sent).raw()
    got = tensor_of_raw("x", BYTES, (len(sent), 1), raw)
    assert got.data == sent
    assert got.raw() == raw
    assert got.nbytes() == len(raw)


@given(st.data(), st.sampled_from(sorted(DTYPES)))
def test_numbers_come_back_from_their_values(data: st.DataObject, datatype: str) -> None:
    sent = data.draw(arrays.arrays(DTYPES[datatype], _SHAPES))
    got = tensor_of_values("x", datatype, sent.shape, sent.ravel().tolist())
    assert isinstance(got.data, np.ndarray)
    assert got.data.dtype == sent.dtype
    np.testing.assert_array_equal(got.data, sent)


@given(st.lists(st.text(max_size=9) | st.binary(max_size=9), max_size=9))
def test_byte_strings_may_come_as_text(sent: list[str | bytes]) -> None:
    got = tensor_of_values("x", BYTES, (len(sent),), sent)
    assert got.data == [one.encode() if isinstance(one, str) else one for one in sent]


_sizes = st.integers(-2, 9) | st.sampled_from([1 << 31, 1 << 62, 1 << 63, 1 << 80])


@given(_NAMES, st.lists(_sizes, max_size=9), st.binary(max_size=200))
def test_any_bytes_are_a_tensor_or_a_bad_one(datatype: str, shape: list[int], raw: bytes) -> None:
    try:
        got = tensor_of_raw("x", datatype, shape, raw)
    except BadTensor:
        return
    assert got.raw() == raw
    count = len(got.data) if isinstance(got.data, list) else got.data.size
    assert count == math.prod(shape)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5)
    | st.text(st.characters(exclude_categories=[]), max_size=5)
    | st.sampled_from([10**400, -(2**63), 2**64 - 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)  # fmt: skip


@given(_NAMES, st.lists(_anything, max_size=6))
def test_any_values_are_a_tensor_or_a_bad_one(datatype: str, values: list[Any]) -> None:
    try:
        got = tensor_of_values("x", datatype, (len(values),), values)
    except BadTensor:
        return
    if isinstance(got.data, np.ndarray) and got.data.dtype.kind in "iu":
        assert got.data.tolist() == values


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("UINT8", [256]),
        ("UINT8", [-1]),
        ("INT8", [128]),
        ("UINT8", [1.0]),
        ("UINT8", ["1"]),
        ("UINT8", [None]),
        ("INT64", [2**63]),
        ("UINT64", [2**64]),
        ("UINT64", [-1, 2**64 - 1]),
        ("BOOL", [0.5]),
        ("FP16", [70000.0]),
        ("FP32", [1e39]),
        ("FP32", ["nan"]),
        ("FP32", [[1.0]]),
        ("BYTES", [1]),
        ("BYTES", ["\ud800"]),
    ],
)
def test_a_value_that_does_not_fit_is_refused(datatype: str, values: list[Any]) -> None:
    with pytest.raises(BadTensor):
        tensor_of_values("x", datatype, (len(values),), values)


def test_one_wrong_value_among_many_is_found() -> None:
    values: list[Any] = [7] * 100_000
    assert tensor_of_values("x", "UINT8", (100_000,), values).raw() == b"\x07" * 100_000
    values[99_999] = 7.5
    with pytest.raises(BadTensor, match="no UINT8"):
        tensor_of_values("x", "UINT8", (100_000,), values)


def test_large_whole_numbers_are_not_rounded() -> None:
    values = [1, 2**53 + 1, 2**64 - 1]
    got = tensor_of_values("x", "UINT64", (3,), values)
    assert isinstance(got.data, np.ndarray)
    assert got.data.tolist() == values


@pytest.mark.parametrize("count", [1, 1 << 24])
def test_a_million_empty_files_are_refused_before_they_are_made(count: int) -> None:
    with pytest.raises(BadTensor, match="BYTES elements"):
        tensor_of_raw("x", BYTES, (count,), bytes(1 << 24))


def test_a_shape_larger_than_memory_is_refused_although_a_size_is_zero() -> None:
    with pytest.raises(BadTensor, match="which is none"):
        tensor_of_raw("x", "UINT8", (0, 1 << 62, 4), b"")


def test_errors_quote_no_more_than_the_beginning_of_a_name() -> None:
    with pytest.raises(BadTensor) as refused:
        tensor_of_raw("n" * 10_000, "UINT8", (2,), b"1")
    assert len(refused.value.detail) < 200
