"""Tensors as the protocol carries them: flat, row-major; in JSON, in bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Element = bool | int | float | bytes

# OIP, "Tensor Data Types", as codes of `struct`; BYTES has none.
_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
DATATYPES = frozenset(_CODES) | {"BYTES"}
_FLOATS = {"FP16": 2e-3, "FP32": 1e-4, "FP64": 1e-6}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: `elements` are flat, row-major, as many as `shape` says."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: tuple[Element, ...]

    def json_data(self) -> list[Any]:
        """The elements for the member `data`; BYTES as text."""
        return [one.decode() if isinstance(one, bytes) else one for one in self.elements]

    def raw(self) -> bytes:
        """Little-endian bytes without padding; a BYTES element is a 4-byte length and itself."""
        if self.datatype == "BYTES":
            return b"".join(prefixed(one) for one in self.elements if isinstance(one, bytes))
        return struct.pack(f"<{len(self.elements)}{_CODES[self.datatype]}", *self.elements)

    def equals(self, other: Tensor) -> bool:
        """Same type, shape and elements; floats within what their printing may lose."""
        if (self.datatype, self.shape) != (other.datatype, other.shape):
            return False
        tolerance = _FLOATS.get(self.datatype)
        if tolerance is None:
            return self.elements == other.elements
        pairs = zip(self.elements, other.elements, strict=True)
        return all(
            math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance) for a, b in pairs
        )


def prefixed(element: bytes) -> bytes:
    """A BYTES element as binary data: its length in 4 bytes, little-endian, and itself."""
    return struct.pack("<I", len(element)) + element


def count_of(shape: Sequence[int]) -> int:
    """Elements of a tensor of this shape."""
    return math.prod(shape)


def from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Tensor:
    """Read binary data.

    Raises:
        ValueError: it is not as long as datatype and shape say.
    """
    if datatype == "BYTES":
        elements: tuple[Element, ...] = tuple(_unprefixed(raw))
        if len(elements) != count_of(shape):
            raise ValueError(f"{len(elements)} elements for shape {list(shape)}")
        return Tensor(name, datatype, shape, elements)
    if datatype not in _CODES:
        raise ValueError(f"datatype {datatype!r} is not one of OIP's")
    layout = struct.Struct(f"<{count_of(shape)}{_CODES[datatype]}")
    if len(raw) != layout.size:
        raise ValueError(f"{len(raw)} bytes for {datatype} {list(shape)}, which has {layout.size}")
    return Tensor(name, datatype, shape, layout.unpack(raw))


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """Read the member `data`, flat or nested.

    Raises:
        ValueError: the datatype is unknown, or there are not as many elements as the shape says.
    """
    if datatype not in DATATYPES:
        raise ValueError(f"datatype {datatype!r} is not one of OIP's")
    if not isinstance(data, list):
        raise ValueError(f"data is {type(data).__name__}, not an array")
    elements = tuple(_element(one, datatype) for one in _flat(data))
    if len(elements) != count_of(shape):
        raise ValueError(f"{len(elements)} elements for shape {list(shape)}")
    return Tensor(name, datatype, shape, elements)


def nested(elements: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Flat elements as arrays in arrays."""
    if len(shape) <= 1:
        return list(elements)
    step = count_of(shape[1:])
    return [nested(elements[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _flat(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for one in data:
        flat.extend(_flat(one) if isinstance(one, list) else [one])
    return flat


def _element(one: Any, datatype: str) -> Element:
    if datatype == "BYTES":
        if isinstance(one, str | bytes):
            return one.encode() if isinstance(one, str) else one
    elif isinstance(one, bool) == (datatype == "BOOL"):
        kinds = (int, float) if datatype in _FLOATS else (int,)
        if isinstance(one, kinds):
            return one
    raise ValueError(f"{one!r} is no {datatype}")


def _unprefixed(raw: bytes) -> list[bytes]:
    elements, at = [], 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise ValueError(f"{len(raw) - at} bytes left, a length has 4")
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4 + length
        if at > len(raw):
            raise ValueError(f"an element of {length} bytes ends behind the data")
        elements.append(raw[at - length : at])
    return elements
