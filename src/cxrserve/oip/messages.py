"""Requests and responses of the Open Inference Protocol, as no protocol has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxrserve.errors import BadTensor
from cxrserve.oip.tensors import Tensor

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedOutput:
    """An output that is asked for. `classes`: its highest so many, as text, instead of numbers."""

    name: str
    classes: int = 0
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One request; no `outputs` asks for all of them."""

    model: str
    version: str = ""
    id: str = ""
    parameters: Parameters = field(default_factory=dict)
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InferResponse:
    """One response; `outputs` in the order they were asked for."""

    model: str
    version: str
    id: str
    parameters: Parameters
    outputs: tuple[Tensor, ...]

    def nbytes(self) -> int:
        """Of all outputs, as bytes on the wire."""
        return sum(tensor.nbytes() for tensor in self.outputs)


def whole(parameters: Parameters, name: str) -> int:
    """A parameter that must be a whole number, not negative; 0 if it is not there.

    Raises:
        BadTensor: it is something else.
    """
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadTensor(f"parameter '{name}' must be a whole number, 0 or more")
    return value


def flag(parameters: Parameters, name: str) -> bool:
    """A parameter that must be true or false; false if it is not there.

    Raises:
        BadTensor: it is something else.
    """
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise BadTensor(f"parameter '{name}' must be true or false")
    return value
