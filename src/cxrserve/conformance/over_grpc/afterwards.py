"""After all that: the server still serves."""

from __future__ import annotations

from cxrserve.conformance.grpc_inference import infer, outputs_of, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.specification import Section, grpc


@GRPC(Section.AFTERWARDS, grpc("Health"))
def the_server_still_lives(server: GrpcServer) -> None:
    reply = server.call("ServerLive", service_pb2.ServerLiveRequest())
    if not reply.ok().live:
        raise reply.failure("live: true")


@GRPC(Section.AFTERWARDS, grpc("Inference"))
def the_model_still_answers(server: GrpcServer) -> None:
    outputs_of(infer(server, request_of(server, server.sample)))
