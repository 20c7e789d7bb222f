"""Outputs that are asked for, as tensors or as classes."""

from __future__ import annotations

from cxrserve.conformance.arithmetic import class_faults, classifiable
from cxrserve.conformance.grpc_inference import (
    expect_equal,
    infer,
    output_of,
    reference,
    request_of,
    set_parameter,
)
from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.specification import Extension, Section, grpc, triton

_OUTPUT = grpc("Inference, outputs")
_classification = GRPC(
    Section.CLASSIFICATION,
    triton("extension_classification"),
    extension=Extension.CLASSIFICATION,
)


@GRPC(Section.OUTPUTS, _OUTPUT)
def only_the_output_asked_for_comes(server: GrpcServer) -> None:
    for name, tensor in reference(server).items():
        reply = infer(server, request_of(server, server.sample, outputs=[name]))
        expect_equal(reply, {name: tensor})


@GRPC(Section.OUTPUTS, _OUTPUT)
def an_unknown_output_is_refused(server: GrpcServer) -> None:
    request = request_of(server, server.sample, outputs=["no-such-output"])
    reply = infer(server, request)
    if reply.code == "OK":
        raise reply.difference("a refusal: an output that was asked for is not there")
    reply.refused()


@_classification
def the_highest_class_comes_first(server: GrpcServer) -> None:
    name, values = classifiable(reference(server))
    count = min(2, len(values.elements))
    reply = _classified(server, name, count)
    fault = class_faults(output_of(reply, name), values, count)
    if fault:
        raise reply.failure(fault)


@_classification
def a_negative_count_of_classes_is_refused(server: GrpcServer) -> None:
    name, _ = classifiable(reference(server))
    reply = _classified(server, name, -1)
    if reply.code == "OK":
        raise reply.difference("a refusal, INVALID_ARGUMENT")
    reply.refused()


def _classified(server: GrpcServer, name: str, count: int) -> Reply:
    request = request_of(server, server.sample, outputs=[name])
    set_parameter(request.outputs[0].parameters["classification"], count)
    return infer(server, request)
