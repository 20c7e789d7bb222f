"""Finds the parameters in what a weights file holds: a state dict, a checkpoint, a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cxrserve.training.importing.errors import UnusableWeights
from cxrserve.training.importing.restricted import Inert, StoredTensor

# Where training scripts put the weights beside their optimiser and counters.
_NESTED = ("state_dict", "model_state_dict", "model", "net")
# DenseNet-121 nests five deep and has 1,300 parts.
_DEEPEST, _MOST_PARTS = 32, 20_000


def state_of(root: Any) -> dict[str, StoredTensor]:
    """Parameters and buffers by their dotted names.

    Raises:
        UnusableWeights: there are none.
    """
    for _ in range(len(_NESTED)):
        if not isinstance(root, dict):
            break
        inner = next((dict.get(root, key) for key in _NESTED if dict.get(root, key)), None)
        if not isinstance(inner, (dict, Inert)):
            break
        root = inner
    if isinstance(root, dict):
        # A pickle may have put its own `items` on an OrderedDict.
        found = dict(_tensors(root))
    elif isinstance(root, Inert):
        found = _of_module(root)
    else:
        found = {}
    if not found:
        raise UnusableWeights(
            "the file holds no named tensors",
            advice="give a state dict, a checkpoint with one, or a saved module",
        )
    return found


def _of_module(module: Inert) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    waiting = [("", module, 0)]
    for visited in range(_MOST_PARTS + 1):
        if not waiting:
            return found
        prefix, part, depth = waiting.pop()
        if visited == _MOST_PARTS or depth > _DEEPEST:
            break
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _tensors(part.attributes.get(kind)):
                found[prefix + name] = tensor
        for name, inner in _named(part.attributes.get("_modules")):
            if isinstance(inner, Inert):
                waiting.append((f"{prefix}{name}.", inner, depth + 1))
    raise UnusableWeights(
        f"the saved module has more than {_MOST_PARTS} parts or nests deeper than {_DEEPEST}"
    )


def _tensors(mapping: Any) -> Iterator[tuple[str, StoredTensor]]:
    for name, value in _named(mapping):
        if isinstance(value, StoredTensor):
            yield name, value


def _named(mapping: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(mapping, dict):
        for name, value in dict.items(mapping):
            if isinstance(name, str):
                yield name, value
