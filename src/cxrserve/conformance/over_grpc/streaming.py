"""ModelStreamInfer: many requests on one stream."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.arithmetic import simple_outputs
from cxrserve.conformance.grpc_inference import expect_equal, reference, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.specification import Section
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_streaming = GRPC(Section.STREAMING, "Triton, grpc_service.proto, ModelStreamInfer")


@_streaming
def a_request_on_a_stream_is_answered(server: GrpcServer) -> None:
    messages, reply = server.stream([request_of(server, server.sample)])
    if reply.code == "UNIMPLEMENTED":
        raise NotOffered("there are no streams", sent=reply.sent, came=reply.came)
    if _has_another_message(reply):
        raise reply.difference("ModelStreamInferResponse; OIP itself has no streams")
    reply.ok()
    _one_each(messages, reply, 1)
    _answered(messages[0], reply)
    expect_equal(reply, reference(server), messages[0].infer_response)


@_streaming
def every_request_gets_its_own_answer(server: GrpcServer) -> None:
    server.model.needs_simple()
    sent = {
        str(number): server.model.simple_inputs((number,) * 16, tuple(range(16)))
        for number in range(5)
    }
    requests = [request_of(server, tensors, id=name) for name, tensors in sent.items()]
    messages, reply = _streamed(server, requests)
    _one_each(messages, reply, len(requests))
    for message in messages:
        _answered(message, reply)
        identity = message.infer_response.id
        if identity not in sent:
            raise reply.failure(f"an answer with the id of a request, not {identity!r}")
        expect_equal(reply, simple_outputs(sent[identity]), message.infer_response)
    if len({message.infer_response.id for message in messages}) != len(sent):
        raise reply.failure("one answer for each id")


@_streaming
def a_wrong_request_does_not_end_the_stream(server: GrpcServer) -> None:
    wrong = request_of(server, server.sample, model_name="no-such-model", id="wrong")
    messages, reply = _streamed(server, [wrong, request_of(server, server.sample, id="right")])
    _one_each(messages, reply, 2)
    refused = [message for message in messages if message.error_message]
    if len(refused) != 1:
        raise reply.failure("an error_message for one request, an answer to the other")
    answered = next(message for message in messages if not message.error_message)
    expect_equal(reply, reference(server), answered.infer_response)


@_streaming
def a_refusal_on_a_stream_says_which_request_it_is_to(server: GrpcServer) -> None:
    wrong = request_of(server, server.sample, model_name="no-such-model", id="wrong")
    messages, reply = _streamed(server, [wrong])
    _one_each(messages, reply, 1)
    if messages[0].infer_response.id != "wrong":
        raise reply.difference("infer_response.id beside error_message")


def _streamed(server: GrpcServer, requests: list[Any]) -> tuple[list[Any], Reply]:
    """Send requests on a stream, once it is known that there are streams as Triton's."""
    _, first = server.stream([request_of(server, server.sample)])
    if first.code == "UNIMPLEMENTED":
        raise NotOffered("there are no streams", sent=first.sent, came=first.came)
    if _has_another_message(first):
        raise NotApplicable("streams are not as Triton's")
    messages, reply = server.stream(requests)
    reply.ok()
    return messages, reply


def _has_another_message(reply: Reply) -> bool:
    # MLServer streams ModelInferResponse; grpcio's words for what cannot be read as ours.
    return reply.code == "INTERNAL" and "deserializing" in reply.details


def _one_each(messages: list[Any], reply: Reply, count: int) -> None:
    if len(messages) != count:
        raise reply.failure(f"{count} messages, one for each request; there were {len(messages)}")


def _answered(message: Any, reply: Reply) -> None:
    if message.error_message:
        raise reply.failure(f"an answer, not the error {message.error_message!r}")
