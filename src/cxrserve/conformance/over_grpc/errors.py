"""Requests that are wrong: each is refused, with a reason, and none brings the server down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cxrserve.conformance.checks import Check
from cxrserve.conformance.grpc_inference import field_of, infer, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer
from cxrserve.conformance.specification import Section, grpc, triton
from cxrserve.conformance.verdicts import NotApplicable

_SOURCE = grpc("Inference, errors by google.rpc.Status")
_errors = GRPC(Section.ERRORS, _SOURCE)
_shared_memory = GRPC(Section.SHARED_MEMORY, triton("extension_shared_memory"))

Spoil = Callable[[Any], object]


def _reshaped(request: Any, *shape: int) -> None:
    request.inputs[0].shape[:] = shape


def _raw(request: Any, change: Callable[[bytes], bytes]) -> None:
    request.raw_input_contents[0] = change(request.raw_input_contents[0])


def _emptied(request: Any) -> None:
    del request.inputs[:]
    del request.raw_input_contents[:]


# What is wrong, and what makes it so.
_SPOILT: dict[str, Spoil] = {
    "a shape that the data do not fill is refused": lambda r: r.inputs[0].shape.append(2),
    "a shape that the model does not take is refused": lambda r: _reshaped(
        r, 1, *r.inputs[0].shape, 1
    ),
    "a negative size is refused": lambda r: _reshaped(r, -1, *r.inputs[0].shape[1:]),
    "a size beyond all memory is refused": lambda r: _reshaped(r, 2**40, 2**40),
    "raw contents too short are refused": lambda r: _raw(r, lambda raw: raw[:-1]),
    "raw contents too long are refused": lambda r: _raw(r, lambda raw: raw + b"\x00" * 4),
    "raw contents for fewer inputs are refused": lambda r: r.raw_input_contents.pop(),
    "an unknown datatype is refused": lambda r: setattr(r.inputs[0], "datatype", "INT33"),
    "an input of another name is refused": lambda r: setattr(r.inputs[0], "name", "no-such-input"),
    "no inputs at all are refused": _emptied,
}


def _refuses(spoil: Spoil, server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    spoil(request)
    infer(server, request).refused()


for _name, _spoil in _SPOILT.items():
    GRPC.add(Check(_name, Section.ERRORS, _SOURCE, None, partial(_refuses, _spoil)))


@_errors
def inference_by_an_unknown_model_is_not_found(server: GrpcServer) -> None:
    request = request_of(server, server.sample, model_name="no-such-model")
    infer(server, request).refused("NOT_FOUND")


@_errors
def another_datatype_than_the_models_is_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    one = request.inputs[0]
    same_size = {"INT32": "FP32", "UINT8": "INT8", "FP32": "INT32", "INT64": "FP64"}
    one.datatype = same_size.get(one.datatype, "INT32")
    infer(server, request).refused()


@_errors
def raw_contents_for_more_inputs_are_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    request.raw_input_contents.append(b"\x00")
    reply = infer(server, request)
    if reply.code == "OK":
        raise reply.difference("a refusal: contents that belong to no input were passed over")
    reply.refused()


@_errors
def an_input_too_many_is_refused(server: GrpcServer) -> None:
    _refuses_one_more(server, "no-such-input")


@_errors
def an_input_that_comes_twice_is_refused(server: GrpcServer) -> None:
    _refuses_one_more(server, server.sample[0].name)


@_errors
def raw_and_typed_contents_together_are_refused(server: GrpcServer) -> None:
    # "If this field is specified then InferInputTensor::contents must not be specified".
    request = request_of(server, server.sample)
    first = server.sample[0]
    getattr(request.inputs[0].contents, field_of(first)).extend(first.elements)
    infer(server, request).refused()


@_errors
def too_few_typed_contents_are_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample, typed=True)
    getattr(request.inputs[0].contents, field_of(server.sample[0])).pop()
    infer(server, request).refused()


@_errors
def typed_contents_of_another_type_are_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample, typed=True)
    first = server.sample[0]
    contents = request.inputs[0].contents
    contents.ClearField(field_of(first))
    other = contents.fp64_contents if first.datatype != "FP64" else contents.int64_contents
    other.extend([1] * len(first.elements))
    infer(server, request).refused()


@_errors
def a_missing_input_is_refused(server: GrpcServer) -> None:
    server.model.needs_simple()
    infer(server, request_of(server, server.sample[:1])).refused()


@_errors
def numbers_beyond_their_datatype_are_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample, typed=True)
    first = server.sample[0]
    if first.datatype not in ("INT8", "INT16", "UINT8", "UINT16"):
        raise NotApplicable(f"every number of the field fits into {first.datatype}")
    getattr(request.inputs[0].contents, field_of(first))[0] = 100_000
    reply = infer(server, request)
    if reply.code == "OK":
        raise reply.difference("a refusal: the number was silently cut to fit")
    reply.refused()


def _refuses_one_more(server: GrpcServer, name: str) -> None:
    request = request_of(server, server.sample)
    one = request.inputs.add()
    one.CopyFrom(request.inputs[0])
    one.name = name
    request.raw_input_contents.append(request.raw_input_contents[0])
    reply = infer(server, request)
    if reply.code == "OK":
        raise reply.difference("a refusal: one of the inputs was passed over")
    reply.refused()


@_shared_memory
def an_input_in_an_unknown_region_is_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    del request.raw_input_contents[:]
    for one, tensor in zip(request.inputs, server.sample, strict=True):
        one.parameters["shared_memory_region"].string_param = "no-such-region"
        one.parameters["shared_memory_byte_size"].int64_param = len(tensor.raw())
    infer(server, request).refused("NOT_FOUND", "INVALID_ARGUMENT")
