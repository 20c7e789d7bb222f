"""Tensors in JSON and in bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.conformance.tensors import Tensor, from_json, from_raw, nested


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_bytes_survive_their_binary_form(elements: list[bytes]) -> None:
    tensor = Tensor("t", "BYTES", (len(elements),), tuple(elements))
    assert from_raw("t", "BYTES", tensor.shape, tensor.raw()) == tensor


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=6, max_size=6))
def test_numbers_survive_both_forms_flat_and_nested(numbers: list[int]) -> None:
    tensor = Tensor("t", "INT32", (2, 3), tuple(numbers))
    assert from_raw("t", "INT32", (2, 3), tensor.raw()) == tensor
    assert from_json("t", "INT32", (2, 3), tensor.json_data()) == tensor
    assert from_json("t", "INT32", (2, 3), nested(numbers, (2, 3))) == tensor


def test_binary_data_are_little_endian_and_lengths_have_four_bytes() -> None:
    assert Tensor("t", "INT32", (1,), (1,)).raw() == b"\x01\x00\x00\x00"
    assert Tensor("t", "BYTES", (1,), (b"ab",)).raw() == b"\x02\x00\x00\x00ab"
    assert Tensor("t", "FP16", (1,), (1.5,)).raw() == struct.pack("<e", 1.5)


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [("INT32", b"\x00" * 7), ("BYTES", b"\x05\x00\x00\x00ab"), ("BYTES", b"\x05"), ("INT33", b"")],
)
def test_binary_data_that_do_not_fit_are_refused(datatype: str, raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_raw("t", datatype, (2,), raw)


def test_floats_are_equal_within_what_their_printing_loses() -> None:
    printed = Tensor("t", "FP32", (1,), (0.333333,))
    assert printed.equals(Tensor("t", "FP32", (1,), (1 / 3,)))
    assert not printed.equals(Tensor("t", "FP32", (1,), (0.334,)))
    assert not printed.equals(Tensor("u", "FP64", (1,), (0.333333,)))
