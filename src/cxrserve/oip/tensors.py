"""Tensors of the Open Inference Protocol: named arrays, and BYTES elements of any length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import BadTensor

BYTES = "BYTES"
# BF16 has no numpy type; no model here takes or gives it.
DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_LENGTH_BYTES = 4
_MOST_DIMENSIONS = 8
# numpy counts bytes in 63 bits, also where one size is 0.
_LARGEST_SHAPE = 1 << 59
# More would be as many objects in few bytes.
_MOST_FILES = 1 << 16
# Values become numbers in pieces: Python's objects for all of them would be ten times as large.
_PIECE = 1 << 14
_NAME_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor. `data`: an array of `shape`, or BYTES elements in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[np.generic] | list[bytes] = field(repr=False)

    def nbytes(self) -> int:
        """Of its data."""
        if isinstance(self.data, list):
            return sum(_LENGTH_BYTES + len(one) for one in self.data)
        return self.data.nbytes

    def raw(self) -> bytes:
        """Row-major little-endian bytes; BYTES elements each after their length in 4 bytes."""
        if isinstance(self.data, list):
            return b"".join(len(one).to_bytes(_LENGTH_BYTES, "little") + one for one in self.data)
        return np.ascontiguousarray(self.data).tobytes()


def tensor_of_raw(
    name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview
) -> Tensor:
    """A tensor from its bytes, which are not copied where they are numbers.

    Raises:
        BadTensor: unknown datatype, a shape that is none, or bytes that do not fill it.
    """
    count = elements(name, shape)
    if datatype == BYTES:
        return Tensor(name, datatype, tuple(shape), _split(name, memoryview(raw), count))
    dtype = dtype_of(name, datatype)
    expected = count * dtype.itemsize
    if len(raw) != expected:
        raise BadTensor(
            f"unexpected total byte size {len(raw)} for input '{_shown(name)}', "
            f"expecting {expected}"
        )
    return Tensor(name, datatype, tuple(shape), np.frombuffer(raw, dtype).reshape(shape))


def tensor_of_values(
    name: str, datatype: str, shape: Sequence[int], values: Sequence[object]
) -> Tensor:
    """A tensor from its values, flat in row-major order.

    Raises:
        BadTensor: as `tensor_of_raw`, or a value that the datatype cannot hold.
    """
    count = elements(name, shape)
    if len(values) != count:
        raise BadTensor(
            f"input '{_shown(name)}' has {len(values)} values, its shape {list(shape)} says {count}"
        )
    if datatype == BYTES:
        _check_files(name, count)
        return Tensor(name, datatype, tuple(shape), [_bytes_of(name, one) for one in values])
    array = np.empty(count, dtype_of(name, datatype))
    for start in range(0, count, _PIECE):
        piece = list(values[start : start + _PIECE])
        array[start : start + len(piece)] = _numbers(name, datatype, piece)
    return Tensor(name, datatype, tuple(shape), array.reshape(shape))


def elements(name: str, shape: Sequence[int]) -> int:
    """How many elements a shape has.

    Raises:
        BadTensor: it has a negative size, or too many dimensions.
    """
    if (
        len(shape) > _MOST_DIMENSIONS
        or any(size < 0 for size in shape)
        or math.prod(size or 1 for size in shape) > _LARGEST_SHAPE
    ):
        raise BadTensor(
            f"'{_shown(name)}' has the shape {list(shape)[:_MOST_DIMENSIONS]}, which is none"
        )
    return math.prod(shape)


def dtype_of(name: str, datatype: str) -> np.dtype[np.generic]:
    """The numpy type of a datatype.

    Raises:
        BadTensor: there is none of that name.
    """
    dtype = DTYPES.get(datatype)
    if dtype is None:
        known = ", ".join((*DTYPES, BYTES))
        raise BadTensor(
            f"'{_shown(name)}' has the unknown datatype {datatype[:16]!r}",
            advice=f"use one of: {known}",
        )
    return dtype


def _numbers(name: str, datatype: str, values: list[object]) -> NDArray[np.generic]:
    """Numbers only, whole ones where the datatype is whole, and within its range."""
    dtype = dtype_of(name, datatype)
    try:
        given = np.asarray(values)
        if dtype.kind == "u" and given.dtype.kind == "f" and all(type(v) is int for v in values):
            # numpy makes numbers with a point of whole ones on both sides of 2**63.
            given = np.array(values, np.uint64)
        if given.ndim != 1 or given.dtype.kind not in ("iub" if dtype.kind in "iub" else "iubf"):
            raise BadTensor(f"input '{_shown(name)}' has values that are no {datatype}")
        if _is_outside(given, dtype):
            raise BadTensor(f"input '{_shown(name)}' has values outside of {datatype}")
        return given.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadTensor(f"input '{_shown(name)}' has values that are no {datatype}") from error


def _is_outside(given: NDArray[np.generic], dtype: np.dtype[np.generic]) -> bool:
    if dtype.kind == "f":
        finite = np.abs(given[np.isfinite(given)].astype(np.float64))
        return bool((finite > np.finfo(dtype.str).max).any())
    if dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype.str)
    return int(given.min()) < limits.min or int(given.max()) > limits.max


def _bytes_of(name: str, value: object) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
    except UnicodeEncodeError:
        pass  # half a character, which JSON can escape
    raise BadTensor(f"input '{_shown(name)}' has values that are no BYTES")


def _split(name: str, raw: memoryview, count: int) -> list[bytes]:
    _check_files(name, count)
    parts: list[bytes] = []
    at = 0
    while at < len(raw) and len(parts) <= count:
        begin = at + _LENGTH_BYTES
        end = begin + int.from_bytes(raw[at:begin], "little")
        if end > len(raw) or begin > len(raw):
            raise BadTensor(
                f"input '{_shown(name)}' breaks off inside a BYTES element",
                advice="write 4 bytes of length, little-endian, before each element",
            )
        parts.append(bytes(raw[begin:end]))
        at = end
    if len(parts) != count:
        have = len(parts) if len(parts) < count else f"more than {count}"
        raise BadTensor(f"input '{_shown(name)}' has {have} BYTES elements, its shape says {count}")
    return parts


def _check_files(name: str, count: int) -> None:
    if count > _MOST_FILES:
        raise BadTensor(f"input '{_shown(name)}' has more than {_MOST_FILES} BYTES elements")


def _shown(name: str) -> str:
    return name[:_NAME_SHOWN]
