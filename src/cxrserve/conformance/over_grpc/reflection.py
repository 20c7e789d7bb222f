"""Server reflection: a client finds the service without its .proto files."""

from __future__ import annotations

from typing import Any

from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.specification import Section
from cxrserve.conformance.verdicts import NotOffered

_reflection = GRPC(
    Section.REFLECTION, "gRPC Server Reflection Protocol (grpc/doc/server-reflection.md)"
)
_SERVICE = "inference.GRPCInferenceService"


@_reflection
def reflection_names_the_inference_service(server: GrpcServer) -> None:
    message, reply = _asked(server, list_services="*")
    names = [one.name for one in message.list_services_response.service]
    if _SERVICE not in names:
        raise reply.failure(f"{_SERVICE} among the services")


@_reflection
def reflection_describes_the_inference_service(server: GrpcServer) -> None:
    message, reply = _asked(server, file_containing_symbol=_SERVICE)
    if not message.file_descriptor_response.file_descriptor_proto:
        raise reply.failure("a file descriptor")


@_reflection
def reflection_does_not_describe_what_is_not_there(server: GrpcServer) -> None:
    message, reply = _asked(server, file_containing_symbol="no.such.Symbol")
    if not message.HasField("error_response"):
        raise reply.failure("an error_response")


def _asked(server: GrpcServer, **question: str) -> tuple[Any, Reply]:
    # Any: what protoc wrote for gRPC carries no types.
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    messages, reply = server.stream(
        [reflection_pb2.ServerReflectionRequest(**question)],
        method=stub.ServerReflectionInfo,
        name="grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    )
    if reply.code == "UNIMPLEMENTED":
        raise NotOffered("the reflection service is not there", sent=reply.sent, came=reply.came)
    reply.ok()
    if len(messages) != 1:
        raise reply.failure("one message")
    return messages[0], reply
