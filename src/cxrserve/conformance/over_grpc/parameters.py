"""What a request may say about itself: an id, a priority, a timeout, anything else."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.grpc_inference import expect_equal, infer, reference, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer
from cxrserve.conformance.specification import Extension, Section, grpc, triton

_ID = grpc("Inference, id")
_schedule = GRPC(
    Section.PARAMETERS, triton("extension_schedule_policy"), extension=Extension.SCHEDULE
)


@GRPC(Section.ID, _ID)
def the_id_comes_back(server: GrpcServer) -> None:
    _comes_back(server, "42")


@GRPC(Section.ID, _ID)
def an_id_of_any_text_comes_back(server: GrpcServer) -> None:
    _comes_back(server, "Größe 2/3 \N{LUNGS}")


@GRPC(Section.ID, _ID)
def no_id_comes_back_as_none(server: GrpcServer) -> None:
    reply = infer(server, request_of(server, server.sample))
    if reply.ok().id:
        raise reply.difference("no id, for none was sent")


@_schedule
def a_priority_is_accepted(server: GrpcServer) -> None:
    _accepted(server, {"priority": 1})


@_schedule
def a_timeout_in_microseconds_is_accepted(server: GrpcServer) -> None:
    _accepted(server, {"timeout": 60_000_000})


@_schedule
def a_priority_that_is_no_number_is_refused(server: GrpcServer) -> None:
    infer(server, request_of(server, server.sample, parameters={"priority": "first"})).refused()


@_schedule
def a_timeout_that_is_no_number_is_refused(server: GrpcServer) -> None:
    infer(server, request_of(server, server.sample, parameters={"timeout": "soon"})).refused()


@GRPC(Section.PARAMETERS, triton("extension_parameters"), extension=Extension.PARAMETERS)
def parameters_of_one_s_own_are_accepted(server: GrpcServer) -> None:
    _accepted(server, {"my_custom_parameter": 42, "another": "text", "third": True})


def _comes_back(server: GrpcServer, identity: str) -> None:
    reply = infer(server, request_of(server, server.sample, id=identity))
    if reply.ok().id != identity:
        raise reply.failure(f"id: {identity!r}")


def _accepted(server: GrpcServer, parameters: dict[str, Any]) -> None:
    reply = infer(server, request_of(server, server.sample, parameters=parameters))
    expect_equal(reply, reference(server))
