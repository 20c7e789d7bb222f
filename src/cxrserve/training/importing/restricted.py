"""Reads the pickles inside PyTorch's files without running anything that they name.

A pickle is a program: it names functions and calls them. Here a name is looked up in the list below
and nowhere else; nothing is imported for it. Layers become `Inert`, tensors become records of where
their numbers lie, and any other name refuses the file.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from io import BytesIO
from typing import Any

import torch

from cxrserve.training.importing.errors import UnsafeWeights, UnusableWeights

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# Packages whose classes and functions are kept as `Inert`: layers, and networks made of them.
_INERT_PACKAGES = ("torchxrayvision", "torchvision.models", "torch.nn", "torch.backends")
# Beside the weights of a training checkpoint: counters, optimiser, best score.
_INERT_NAMES = {
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "torch.device",
    *(str(dtype) for dtype in DTYPES.values()),
}


class Inert:
    """Stands for an object whose class is not run; it keeps the attributes that were pickled."""

    __slots__ = ("attributes",)
    attributes: dict[str, Any]

    def __new__(cls, *_args: Any, **_named: Any) -> Inert:
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes = state


class _Stateless:
    """What a pickle cannot alter: the state it gives is dropped.

    Without this, its BUILD instruction could set attributes of the very classes that read it.
    """

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        return None


class StorageKind(_Stateless):
    """The type of numbers in a storage."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class Storage(_Stateless):
    """Numbers in the file: those of the storage `key`, from the `start`th on."""

    __slots__ = ("dtype", "key", "start")

    def __init__(self, key: str, dtype: torch.dtype, *, start: int) -> None:
        self.key, self.dtype, self.start = key, dtype, start


class StoredTensor(_Stateless):
    """A tensor as `torch._utils._rebuild_tensor_v2` is told to make it; sizes in numbers."""

    __slots__ = ("offset", "size", "storage", "stride")
    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __new__(
        cls, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any
    ) -> StoredTensor:
        numbers = (offset, *tuple(size), *tuple(stride))
        if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
            raise UnusableWeights("the file describes a tensor that cannot be")
        made = super().__new__(cls)
        made.storage, made.offset = storage, offset
        made.size, made.stride = tuple(size), tuple(stride)
        return made


class _Parameter(_Stateless):
    """`torch._utils._rebuild_parameter`: a parameter is its tensor."""

    __slots__ = ()

    def __new__(cls, data: Any, *_rest: Any) -> Any:
        return data


_STAND_INS: dict[str, type] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": StoredTensor,
    "torch._utils._rebuild_tensor_v2": StoredTensor,
    "torch._utils._rebuild_parameter": _Parameter,
    "torch._utils._rebuild_parameter_with_state": _Parameter,
    "torch.nn.parameter.Parameter": _Parameter,
}


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that makes tensors' records, containers and `Inert` objects only.

    Attributes:
        storages: type of numbers of each storage that was named, by its key.

    Raises:
        UnsafeWeights: from `load`, the pickle names anything else.
    """

    def __init__(self, stream: BytesIO) -> None:
        super().__init__(stream, encoding="utf-8")
        self.storages: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`; never what it means."""
        full = f"{module}.{name}"
        if full in _STAND_INS:
            return _STAND_INS[full]
        if module in ("torch", "torch.cuda") and name in DTYPES:
            return StorageKind(DTYPES[name])
        if full in _INERT_NAMES or _within(module, _INERT_PACKAGES):
            return Inert
        raise UnsafeWeights(
            f"the weights file names {full}, which no weights need; nothing of it was run",
            advice="get the file from its publisher again, or ask for a .safetensors file",
            named=full,
        )

    def persistent_load(self, saved: Any) -> Any:
        """A storage, or (in files before PyTorch 1.6) a class with its source."""
        kind, *told = saved
        if kind == "module":
            return told[0]
        # Kind of numbers, key, device, count and, before 1.6, a view: its key, start and count.
        dtype, key = told[0].dtype, str(told[1])
        self.storages[key] = dtype
        view = told[4] if len(told) > 4 else None
        start = 0 if view is None else view[1]
        if type(start) is not int or start < 0:
            raise UnusableWeights("the file describes a storage that cannot be")
        return Storage(key, dtype, start=start)


def unpickled(stream: BytesIO) -> tuple[Any, dict[str, torch.dtype]]:
    """The next pickle of a stream, and the storages that it named.

    Raises:
        UnsafeWeights: it names something that weights have no need of.
        UnusableWeights: it is no pickle, or a damaged one.
    """
    unpickler = RestrictedUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except (UnsafeWeights, UnusableWeights):
        raise
    except Exception as error:
        # A damaged pickle raises whatever its stray instructions run into.
        raise UnusableWeights(f"the pickle in the weights file is damaged: {error}") from error


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)
