"""From the body of an HTTP request to an `InferRequest`.

JSON alone, or JSON of `Inference-Header-Content-Length` bytes with the tensors behind it in the
order of the inputs (Triton's binary tensor data extension).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from cxrserve.errors import BadTensor
from cxrserve.oip.messages import InferRequest, Parameter, RequestedOutput, flag, whole
from cxrserve.oip.shared_memory import REGION, Regions
from cxrserve.oip.tensors import Tensor, tensor_of_raw, tensor_of_values
from cxrserve.radiograph.limits import MIB

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_SIZE = "binary_data_size"
BINARY = "binary_data"
BINARY_OUTPUT = "binary_data_output"
_MOST_TENSORS = 16
_MOST_CLASSES = 1 << 16
# Reading JSON holds up all of Python: 0.1 s for as many numbers. Tensors may come behind it.
_MOST_JSON = 4 * MIB

Shape = Annotated[list[Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]], Field(max_length=8)]
Named = Annotated[str, Field(max_length=256)]
_Parameters = dict[str, StrictBool | StrictInt | StrictFloat | StrictStr]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Input(_Part):
    name: Named
    datatype: Named
    shape: Shape
    parameters: _Parameters = {}
    data: list[Any] | None = None


class _Output(_Part):
    name: Named
    parameters: _Parameters = {}


class _Request(_Part):
    id: str = Field("", max_length=256)
    parameters: _Parameters = {}
    inputs: list[_Input] = Field(max_length=_MOST_TENSORS)
    outputs: list[_Output] = Field([], max_length=_MOST_TENSORS)


def infer_request(
    body: bytes, header_length: str | None, *, model: str, version: str, regions: Regions
) -> InferRequest:
    """Read one request.

    Args:
        body: of the HTTP request, uncompressed.
        header_length: value of `Inference-Header-Content-Length`, where it is there.
        model, version: from the path.
        regions: of shared memory, for inputs that lie there.

    Raises:
        BadTensor: it is no such request.
    """
    length = _header_length(header_length, len(body))
    asked = _parsed(body[:length])
    tail = memoryview(body)[length:]
    inputs = []
    for one in asked.inputs:
        tensor, tail = _input(one, tail, regions)
        inputs.append(tensor)
    if len(tail):
        raise BadTensor(
            f"unexpected additional input data for model '{model[:64]}': {len(tail)} bytes are "
            "left behind the last input"
        )
    all_binary = flag(asked.parameters, BINARY_OUTPUT)
    return InferRequest(
        model=model,
        version=version,
        id=asked.id,
        parameters=asked.parameters,
        inputs=tuple(inputs),
        outputs=tuple(_output(one, regions, binary=all_binary) for one in asked.outputs),
    )


def _header_length(stated: str | None, size: int) -> int:
    if stated is None:
        return size
    # Python reads no number of more than 4,300 digits.
    is_number = stated.isascii() and stated.isdigit() and len(stated) <= len(str(size))
    if not is_number or int(stated) > size:
        raise BadTensor(
            f"{HEADER_LENGTH} must be the bytes of JSON at the beginning of the body, "
            f"which has {size}"
        )
    return int(stated)


def _parsed(header: bytes) -> _Request:
    if len(header) > _MOST_JSON:
        raise BadTensor(
            f"the request has more than {_MOST_JSON} bytes of JSON",
            advice=f"send the tensors behind it ({BINARY_SIZE})",
        )
    try:
        return _Request.model_validate(json.loads(header))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:4])
        raise BadTensor(f"the request is malformed at '{place}': {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise BadTensor("failed to parse the request JSON buffer: it is no JSON") from error


def _input(one: _Input, tail: memoryview, regions: Regions) -> tuple[Tensor, memoryview]:
    if REGION in one.parameters:
        raw = regions.read(one.parameters)
        return tensor_of_raw(one.name, one.datatype, one.shape, raw), tail
    if one.data is not None and BINARY_SIZE in one.parameters:
        raise BadTensor(
            f"input '{one.name[:64]}' has both `data` and `{BINARY_SIZE}`", advice="give one"
        )
    if BINARY_SIZE in one.parameters:
        size = whole(one.parameters, BINARY_SIZE)
        if size > len(tail):
            raise BadTensor(
                f"unexpected end of the body: input '{one.name[:64]}' says {size} bytes, "
                f"{len(tail)} are left"
            )
        return tensor_of_raw(one.name, one.datatype, one.shape, tail[:size]), tail[size:]
    if one.data is None:
        raise BadTensor(
            f"input '{one.name[:64]}' has no data", advice=f"give `data`, or `{BINARY_SIZE}`"
        )
    values = list(_flat(one.data))
    return tensor_of_values(one.name, one.datatype, one.shape, values), tail


def _output(one: _Output, regions: Regions, *, binary: bool) -> RequestedOutput:
    classes = min(whole(one.parameters, "classification"), _MOST_CLASSES)
    if REGION in one.parameters:
        regions.check(one.parameters)
    parameters: dict[str, Parameter] = {BINARY: binary, **one.parameters}
    flag(parameters, BINARY)
    return RequestedOutput(name=one.name, classes=classes, parameters=parameters)


def _flat(values: list[Any]) -> Iterator[Any]:
    """Values in row-major order: they may be nested as their shape is, or flat."""
    waiting = [iter(values)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()
