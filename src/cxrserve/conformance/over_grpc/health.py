"""Health of the server and of the model, by OIP's calls and by gRPC's own."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.specification import Section, grpc
from cxrserve.conformance.verdicts import NotOffered

_SOURCE = grpc("Health")
_health_checking = GRPC(
    Section.HEALTH_CHECKING, "gRPC Health Checking Protocol (grpc/doc/health-checking.md)"
)
_SERVING = 1


@GRPC(Section.HEALTH, _SOURCE)
def the_server_is_live(server: GrpcServer) -> None:
    reply = server.call("ServerLive", service_pb2.ServerLiveRequest())
    if not reply.ok().live:
        raise reply.failure("live: true")


@GRPC(Section.HEALTH, _SOURCE)
def the_server_is_ready(server: GrpcServer) -> None:
    reply = server.call("ServerReady", service_pb2.ServerReadyRequest())
    if not reply.ok().ready:
        raise reply.failure("ready: true")


@GRPC(Section.MODEL_READY, _SOURCE)
def the_model_is_ready(server: GrpcServer) -> None:
    reply = server.call("ModelReady", server.named("ModelReadyRequest"))
    if not reply.ok().ready:
        raise reply.failure("ready: true")


@GRPC(Section.MODEL_READY, _SOURCE)
def an_unknown_model_is_not_ready(server: GrpcServer) -> None:
    _not_ready(server.call("ModelReady", server.named("ModelReadyRequest", "no-such-model")))


@GRPC(Section.VERSIONS, _SOURCE)
def a_version_is_ready(server: GrpcServer) -> None:
    version = version_of(server)
    reply = server.call("ModelReady", server.named("ModelReadyRequest", version=version))
    if not reply.ok().ready:
        raise reply.failure("ready: true")


@GRPC(Section.VERSIONS, _SOURCE)
def an_unknown_version_is_not_ready(server: GrpcServer) -> None:
    version_of(server)
    _not_ready(server.call("ModelReady", server.named("ModelReadyRequest", version="987654")))


@_health_checking
def the_server_as_a_whole_is_serving(server: GrpcServer) -> None:
    _serving(_checked(server, ""))


@_health_checking
def the_inference_service_is_serving(server: GrpcServer) -> None:
    reply = _checked(server, "inference.GRPCInferenceService")
    if reply.code == "NOT_FOUND":
        raise reply.difference("SERVING: the service is there, by its full name")
    _serving(reply)


@_health_checking
def an_unknown_service_is_not_found(server: GrpcServer) -> None:
    reply = _checked(server, "no.such.Service")
    if reply.code == "OK":
        raise reply.difference("NOT_FOUND: the server was not told of such a service")
    if reply.code != "NOT_FOUND":
        raise reply.failure("NOT_FOUND")


def version_of(server: GrpcServer) -> str:
    """A version that may be asked for.

    Raises:
        NotOffered: the model's metadata name none.
    """
    if not server.model.versions:
        raise NotOffered("the model's metadata name no versions")
    return server.model.versions[-1]


def _not_ready(reply: Reply) -> None:
    # The document allows both: `ready: false`, and a status that says why.
    if reply.code == "OK":
        if reply.message.ready:
            raise reply.failure("ready: false, or NOT_FOUND")
        return
    reply.refused("NOT_FOUND")


def _checked(server: GrpcServer, service: str) -> Reply:
    # Any: what protoc wrote for gRPC carries no types.
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    reply = server.ask(stub.Check, request, name="grpc.health.v1.Health/Check")
    if reply.code == "UNIMPLEMENTED":
        raise NotOffered("the health service is not there", sent=reply.sent, came=reply.came)
    return reply


def _serving(reply: Reply) -> None:
    if reply.ok().status != _SERVING:
        raise reply.failure("status: SERVING")
