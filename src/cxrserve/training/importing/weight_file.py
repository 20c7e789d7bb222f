"""Weights from a file: PyTorch's two formats and safetensors. No code in the file is run."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrserve.training.importing.errors import UnusableWeights
from cxrserve.training.importing.restricted import StoredTensor, unpickled
from cxrserve.training.importing.state import state_of

_LARGEST = 2 << 30
# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION of files before PyTorch 1.6.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# github.com/huggingface/safetensors, README, "Format".
_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

# What numbers and offsets of a damaged file lead to.
_DAMAGE = (
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

StorageBytes = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Weights:
    """Named tensors of a file.

    Attributes:
        file: the file's name, without folders.
        sha256: digest of its bytes.
        tensors: parameters and buffers by the names that the file gives them.
    """

    file: str
    sha256: str
    tensors: dict[str, Tensor]


def read_weights(path: Path) -> Weights:
    """Read a `.pt`/`.pth`/`.pth.tar` file (state dict, checkpoint or module) or `.safetensors`.

    Raises:
        UnsafeWeights: its pickle names something that weights have no need of.
        UnusableWeights: no such file, larger than 2 GiB, damaged, or of another kind.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UnusableWeights(f"{path.name} is larger than {_LARGEST} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise UnusableWeights(f"cannot read {path}: {error.strerror}") from error
    try:
        tensors = _tensors(data)
    except _DAMAGE as error:
        raise UnusableWeights(
            f"{path.name} is damaged: {error}", advice="download it again"
        ) from error
    return Weights(path.name, hashlib.sha256(data).hexdigest(), tensors)


def _tensors(data: bytes) -> dict[str, Tensor]:
    if data.startswith(b"PK\x03\x04"):
        return _zipped(data)
    if data[8:9] == b"{":
        return _safetensors(data)
    return _before_1_6(data)


def _zipped(data: bytes) -> dict[str, Tensor]:
    """The format since PyTorch 1.6: `NAME/data.pkl` and a member `NAME/data/KEY` a storage."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = archive.namelist()
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in members):
            raise UnusableWeights(
                "the file is a zip archive, but not one that torch.save writes",
                advice="TorchScript is not read here: give the state dict",
            )
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise UnusableWeights("the file is compressed; torch.save never does so")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise UnusableWeights("the file was written on a big-endian machine")
        root, _ = unpickled(BytesIO(archive.read(pickles[0])))
        return _numbers(state_of(root), lambda key: archive.read(f"{folder}data/{key}"))


def _before_1_6(data: bytes) -> dict[str, Tensor]:
    """Magic number, protocol, machine, object and keys are five pickles; then the storages."""
    stream = BytesIO(data)
    if unpickled(stream)[0] != _MAGIC or unpickled(stream)[0] != _PROTOCOL:
        raise UnusableWeights("the file is neither torch.save's nor safetensors")
    unpickled(stream)
    root, dtypes = unpickled(stream)
    storages: dict[str, bytes] = {}
    for key in unpickled(stream)[0]:
        (count,) = struct.unpack("<q", stream.read(8))
        length = count * dtypes[key].itemsize
        storages[key] = stream.read(length) if length >= 0 else b""
        if len(storages[key]) != length:
            raise UnusableWeights("the file ends too early", advice="download it again")
    return _numbers(state_of(root), storages.__getitem__)


def _numbers(state: dict[str, StoredTensor], storage: StorageBytes) -> dict[str, Tensor]:
    return {name: _tensor(name, stored, storage) for name, stored in state.items()}


def _tensor(name: str, stored: StoredTensor, storage: StorageBytes) -> Tensor:
    place, count = stored.storage, math.prod(stored.size)
    data = storage(place.key)
    held = len(data) // place.dtype.itemsize
    start = place.start + stored.offset
    steps = zip(stored.size, stored.stride, strict=True)
    last = start + sum((size - 1) * stride for size, stride in steps)
    # As many numbers as its storage has, at most: a stride of 0 could ask for any amount.
    if count and not (last < held and count <= held):
        raise UnusableWeights(f"{name} reaches beyond its {held} numbers in the file")
    if not count:
        return torch.zeros(stored.size, dtype=place.dtype)
    flat = torch.frombuffer(bytearray(data), dtype=place.dtype, count=held)
    return flat.as_strided(stored.size, stored.stride, start).clone()


def _safetensors(data: bytes) -> dict[str, Tensor]:
    """Eight bytes of length, a JSON header, then the numbers, little-endian and contiguous."""
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = dict(json.loads(data[8 : 8 + length]))
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, told in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = _SAFETENSORS_DTYPES[told["dtype"]], [int(size) for size in told["shape"]]
        begin, end = told["data_offsets"]
        count = math.prod(shape)
        if not 0 <= begin <= end <= len(body) or end - begin != count * dtype.itemsize:
            raise UnusableWeights(f"{name} reaches beyond its numbers in the file")
        flat = (
            torch.frombuffer(bytearray(body[begin:end]), dtype=dtype)
            if count
            else torch.zeros(0, dtype=dtype)
        )
        tensors[name] = flat.reshape(shape)
    if not tensors:
        raise UnusableWeights("the file holds no named tensors")
    return tensors
