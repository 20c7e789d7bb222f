"""Inference by ModelInfer, with raw and with typed contents."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc

from cxrserve.conformance.arithmetic import simple_outputs
from cxrserve.conformance.grpc_inference import (
    expect_equal,
    infer,
    outputs_of,
    reference,
    request_of,
)
from cxrserve.conformance.grpc_server import GRPC, GrpcServer
from cxrserve.conformance.model import batch_of_two
from cxrserve.conformance.specification import Section
from cxrserve.conformance.specification import grpc as document
from cxrserve.conformance.tensors import Tensor
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_INFERENCE, _DATA = document("Inference"), document("Tensor Data")
_CALLERS = 8


@GRPC(Section.INFERENCE, _INFERENCE)
def an_inference_answers_with_every_output(server: GrpcServer) -> None:
    reply = infer(server, request_of(server, server.sample))
    outputs = outputs_of(reply)
    for spec in server.model.outputs:
        found = outputs.get(spec.name)
        if found is None or found.datatype != spec.datatype:
            raise reply.failure(f"the output {spec.name!r} as {spec.datatype}")
        if not spec.admits(found.shape):
            raise reply.failure(f"{spec.name!r} of shape {list(spec.shape)}")


@GRPC(Section.INFERENCE, _INFERENCE)
def a_reply_names_its_model(server: GrpcServer) -> None:
    reply = infer(server, request_of(server, server.sample))
    if reply.ok().model_name != server.options.model:
        raise reply.failure(f"model_name: {server.options.model!r}")


@GRPC(Section.INFERENCE, _DATA)
def typed_contents_are_the_same_as_raw(server: GrpcServer) -> None:
    reply = infer(server, request_of(server, server.sample, typed=True))
    expect_equal(reply, reference(server))


@GRPC(Section.INFERENCE, _INFERENCE)
def sums_and_differences_are_right(server: GrpcServer) -> None:
    server.model.needs_simple()
    for typed in (False, True):
        reply = infer(server, request_of(server, server.sample, typed=typed))
        expect_equal(reply, simple_outputs(server.sample))


@GRPC(Section.INFERENCE, _INFERENCE)
def raw_contents_are_in_the_order_of_the_inputs(server: GrpcServer) -> None:
    server.model.needs_simple()
    reply = infer(server, request_of(server, server.sample[::-1]))
    expect_equal(reply, simple_outputs(server.sample))


@GRPC(Section.INFERENCE, _INFERENCE)
def rows_of_a_batch_stay_apart(server: GrpcServer) -> None:
    tensors = batch_of_two(server.model)
    expect_equal(infer(server, request_of(server, tensors)), simple_outputs(tensors))


@GRPC(Section.INFERENCE, _INFERENCE)
def callers_at_once_get_their_own_answers(server: GrpcServer) -> None:
    server.model.needs_simple()
    requests = [
        server.model.simple_inputs((caller,) * 16, tuple(range(16))) for caller in range(_CALLERS)
    ]
    with ThreadPoolExecutor(_CALLERS) as callers:
        replies = callers.map(lambda tensors: infer(server, request_of(server, tensors)), requests)
        for tensors, reply in zip(requests, replies, strict=True):
            expect_equal(reply, simple_outputs(tensors))


@GRPC(Section.COMPRESSION, "gRPC compression (grpc/doc/compression.md)")
def compressed_messages_are_read(server: GrpcServer) -> None:
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        request = request_of(server, server.sample)
        reply = infer(server, request, compression=compression)
        if reply.code == "UNIMPLEMENTED":
            raise NotOffered("compressed messages are refused", sent=reply.sent, came=reply.came)
        expect_equal(reply, reference(server))


@GRPC(Section.BYTES, _DATA)
def raw_elements_have_a_length_before_each(server: GrpcServer) -> None:
    sample = server.model.bytes_sample(server.options)
    outputs_of(infer(server, request_of(server, sample)))


@GRPC(Section.BYTES, _DATA)
def typed_elements_are_the_same_as_raw(server: GrpcServer) -> None:
    sample = server.model.bytes_sample(server.options)
    raw = outputs_of(infer(server, request_of(server, sample)))
    expect_equal(infer(server, request_of(server, sample, typed=True)), raw)


@GRPC(Section.BYTES, _DATA)
def any_bytes_survive_the_way_there_and_back(server: GrpcServer) -> None:
    echo = _echo(server)
    for element in (b"", b"\x00\xff\xfe\n", b"x" * 70_000):
        sent = replace(echo, elements=(element,) * len(echo.elements))
        for typed in (False, True):
            reply = infer(server, request_of(server, [sent], typed=typed))
            (output,) = outputs_of(reply).values()
            if output.elements != sent.elements:
                raise reply.failure("the very bytes that were sent")


@GRPC(Section.BYTES, _DATA)
def a_length_beyond_the_data_is_refused(server: GrpcServer) -> None:
    _refused(server, b"\xff\xff\xff\x7fabc")


@GRPC(Section.BYTES, _DATA)
def half_a_length_is_refused(server: GrpcServer) -> None:
    _refused(server, b"\x01\x00")


def _refused(server: GrpcServer, raw: bytes) -> None:
    sample = server.model.bytes_sample(server.options)
    request = request_of(server, sample)
    place = next(i for i, tensor in enumerate(sample) if tensor.datatype == "BYTES")
    request.raw_input_contents[place] = raw
    infer(server, request).refused()


def _echo(server: GrpcServer) -> Tensor:
    """The input of a model that gives back what it got."""
    sample = server.model.bytes_sample(server.options)
    if len(sample) == 1 and len(server.model.outputs) == 1:
        reply = infer(server, request_of(server, sample))
        if reply.code == "OK":
            (output,) = outputs_of(reply).values()
            if output.elements == sample[0].elements:
                return sample[0]
    raise NotApplicable("needs a model that gives back its BYTES, as `simple_identity` does")
