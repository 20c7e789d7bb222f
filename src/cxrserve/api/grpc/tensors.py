"""Between the protocol's protobuf messages and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from cxrserve.errors import BadTensor
from cxrserve.oip.messages import (
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    RequestedOutput,
    whole,
)
from cxrserve.oip.shared_memory import OFFSET, REGION, SIZE, Regions
from cxrserve.oip.tensors import Tensor, tensor_of_raw, tensor_of_values

_MOST_TENSORS = 16
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def infer_request(message: pb.ModelInferRequest, regions: Regions) -> InferRequest:
    """Read one request.

    Raises:
        BadTensor: it is no such request.
    """
    if len(message.inputs) > _MOST_TENSORS or len(message.outputs) > _MOST_TENSORS:
        raise BadTensor(f"a request has at most {_MOST_TENSORS} inputs and outputs")
    raw = iter(message.raw_input_contents)
    has_raw = bool(message.raw_input_contents)
    inputs = tuple(_input(one, raw, regions, has_raw=has_raw) for one in message.inputs)
    if next(raw, None) is not None:
        raise BadTensor("there are more raw_input_contents than inputs they could belong to")
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters=parameters_of(message.parameters),
        inputs=inputs,
        outputs=tuple(_output(one, regions) for one in message.outputs),
    )


def infer_response(
    response: InferResponse, request: InferRequest, regions: Regions
) -> pb.ModelInferResponse:
    """The response as a message; what is wanted in shared memory is put there."""
    wanted: dict[str, Parameters] = {one.name: one.parameters for one in request.outputs}
    message = pb.ModelInferResponse(
        model_name=response.model, model_version=response.version, id=response.id
    )
    for name, value in response.parameters.items():
        _set(message.parameters[name], value)
    for tensor in response.outputs:
        output = message.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape)
        )
        raw = tensor.raw()
        parameters = wanted.get(tensor.name, {})
        if REGION in parameters:
            regions.write(parameters, raw)
            for name in (REGION, OFFSET):
                if name in parameters:
                    _set(output.parameters[name], parameters[name])
            _set(output.parameters[SIZE], len(raw))
        else:
            message.raw_output_contents.append(raw)
    return message


def parameters_of(given: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a message."""
    found: dict[str, Parameter] = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found


def _input(
    one: pb.ModelInferRequest.InferInputTensor,
    raw: Iterable[bytes],
    regions: Regions,
    *,
    has_raw: bool,
) -> Tensor:
    parameters, shape = parameters_of(one.parameters), tuple(one.shape)
    if REGION in parameters:
        return tensor_of_raw(one.name, one.datatype, shape, regions.read(parameters))
    if not has_raw:
        return tensor_of_values(one.name, one.datatype, shape, _values(one))
    if one.HasField("contents"):
        raise BadTensor(
            f"contents field must not be specified when using raw_input_contents for "
            f"'{one.name[:64]}'"
        )
    data = next(iter(raw), None)
    if data is None:
        raise BadTensor(f"there are no raw_input_contents for input '{one.name[:64]}'")
    return tensor_of_raw(one.name, one.datatype, shape, data)


def _values(one: pb.ModelInferRequest.InferInputTensor) -> Sequence[object]:
    filled = [field.name for field, _ in one.contents.ListFields()]
    expected = _CONTENTS.get(one.datatype)
    if expected is None or filled not in ([], [expected]):
        raise BadTensor(
            f"input '{one.name[:64]}' of datatype {one.datatype[:16]!r} does not come in "
            f"{', '.join(filled) or 'contents'}",
            advice=f"use {expected or 'raw_input_contents'}",
        )
    values: Sequence[object] = getattr(one.contents, expected)
    return values


def _output(
    one: pb.ModelInferRequest.InferRequestedOutputTensor, regions: Regions
) -> RequestedOutput:
    parameters = parameters_of(one.parameters)
    if REGION in parameters:
        regions.check(parameters)
    return RequestedOutput(
        name=one.name, classes=whole(parameters, "classification"), parameters=parameters
    )


def _set(parameter: pb.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
