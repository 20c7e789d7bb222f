"""Inference requests over gRPC: raw or typed contents, replies read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxrserve.conformance.grpc_server import GrpcServer, Reply
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.tensors import Tensor, from_json, from_raw
from cxrserve.conformance.verdicts import NotApplicable, Remark

# OIP gRPC, "Tensor Data": the field of InferTensorContents for each datatype; FP16 has none.
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def request_of(
    server: GrpcServer,
    tensors: Sequence[Tensor],
    *,
    typed: bool = False,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Any:
    """A ModelInferRequest; raw contents unless `typed`."""
    request = service_pb2.ModelInferRequest(**{"model_name": server.options.model} | fields)
    for tensor in tensors:
        one = request.inputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape)
        )
        if typed:
            getattr(one.contents, field_of(tensor)).extend(tensor.elements)
        else:
            request.raw_input_contents.append(tensor.raw())
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        set_parameter(request.parameters[name], value)
    return request


def set_parameter(parameter: Any, value: bool | int | str) -> None:
    """Fill an InferParameter."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    else:
        parameter.string_param = value


def field_of(tensor: Tensor) -> str:
    """The field of InferTensorContents for a tensor.

    Raises:
        NotApplicable: there is none.
    """
    if tensor.datatype not in _FIELDS:
        raise NotApplicable(f"{tensor.datatype} travels as raw contents only")
    return _FIELDS[tensor.datatype]


def infer(server: GrpcServer, request: Any, **how: Any) -> Reply:
    """ModelInfer; `how` as for `GrpcServer.ask`."""
    return server.call("ModelInfer", request, **how)


def outputs_of(reply: Reply, message: Any = None) -> dict[str, Tensor]:
    """The outputs of a ModelInferResponse by name, in order; raw and typed ones alike.

    Raises:
        Failed: it did not succeed, or contents do not fit what it declares.
    """
    response = reply.ok() if message is None else message
    raw = list(response.raw_output_contents)
    if raw and len(raw) != len(response.outputs):
        raise reply.failure(
            f"raw_output_contents for each of {len(response.outputs)} outputs, not {len(raw)}"
        )
    tensors = {}
    for place, one in enumerate(response.outputs):
        if raw and one.contents.ByteSize():
            raise reply.failure(f"{one.name!r} raw or typed, not both")
        try:
            tensors[one.name] = _tensor(one, raw[place] if raw else None)
        except ValueError as reason:
            raise reply.failure(f"output {one.name!r} to hold what it declares: {reason}") from None
    return tensors


def output_of(reply: Reply, name: str) -> Tensor:
    """One output of a successful inference.

    Raises:
        Failed: there is none of this name, or as for `outputs_of`.
    """
    outputs = outputs_of(reply)
    if name not in outputs:
        raise reply.failure(f"the output {name!r}")
    return outputs[name]


def reference(server: GrpcServer) -> dict[str, Tensor]:
    """The outputs of the plainest inference, to compare others with.

    Raises:
        NotApplicable: not even that works; its own check says why.
    """
    try:
        return outputs_of(infer(server, request_of(server, server.sample)))
    except Remark as remark:
        raise NotApplicable(f"plain inference does not work: {remark}") from None


def expect_equal(reply: Reply, expected: Mapping[str, Tensor], message: Any = None) -> None:
    """Demand these outputs, and no others.

    Raises:
        Failed: they differ.
    """
    outputs = outputs_of(reply, message)
    if set(outputs) != set(expected):
        raise reply.failure(f"the outputs {sorted(expected)}, not {sorted(outputs)}")
    for name, tensor in expected.items():
        if not outputs[name].equals(tensor):
            raise reply.failure(
                f"{name} = {tensor.datatype} {list(tensor.shape)} {list(tensor.elements[:16])}"
            )


def _tensor(one: Any, raw: bytes | None) -> Tensor:
    shape = tuple(int(size) for size in one.shape)
    if raw is not None:
        return from_raw(one.name, one.datatype, shape, raw)
    field = _FIELDS.get(one.datatype)
    if field is None:
        raise ValueError(f"{one.datatype} without raw contents")
    return from_json(one.name, one.datatype, shape, list(getattr(one.contents, field)))
