"""What the server could serve, and whether it loads and unloads on request."""

from __future__ import annotations

from cxrserve.conformance.grpc_inference import infer, outputs_of, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_SOURCE = triton("extension_model_repository")
_index = GRPC(Section.REPOSITORY, _SOURCE, extension=Extension.REPOSITORY)
_control = GRPC(Section.CONTROL, _SOURCE, extension=Extension.REPOSITORY)


@_index
def the_index_names_the_model_as_ready(server: GrpcServer) -> None:
    reply = _indexed(server)
    if _state(server, reply) != "READY":
        raise reply.failure(f"{server.options.model!r} with the state READY")


@_index
def only_ready_models_come_when_asked_for(server: GrpcServer) -> None:
    reply = _indexed(server, ready=True)
    if any(one.state != "READY" for one in reply.ok().models):
        raise reply.failure("no model that is not READY")
    if _state(server, reply) != "READY":
        raise reply.failure(f"{server.options.model!r} among them")


@_control
def an_unknown_model_cannot_be_loaded(server: GrpcServer) -> None:
    _needs_control(server)
    _load(server, "no-such-model").refused("NOT_FOUND")


@_control
def a_loaded_model_is_loaded_again(server: GrpcServer) -> None:
    _needs_control(server)
    _allowed(_load(server, server.options.model))
    outputs_of(infer(server, request_of(server, server.sample)))


@_control
def an_unloaded_model_is_gone_until_it_is_loaded(server: GrpcServer) -> None:
    _needs_control(server)
    name = server.options.model
    request = request_of(server, server.sample)
    unload = service_pb2.RepositoryModelUnloadRequest(model_name=name)
    _allowed(server.call("RepositoryModelUnload", unload))
    try:
        reply = infer(server, request)
        if reply.code not in ("NOT_FOUND", "UNAVAILABLE"):
            raise reply.failure("NOT_FOUND or UNAVAILABLE: the model is unloaded")
        index = _indexed(server)
        if _state(server, index) == "READY":
            raise index.failure("another state than READY")
    finally:
        _allowed(_load(server, name))
    outputs_of(infer(server, request))


def _indexed(server: GrpcServer, *, ready: bool = False) -> Reply:
    return server.call("RepositoryIndex", service_pb2.RepositoryIndexRequest(ready=ready))


def _state(server: GrpcServer, reply: Reply) -> str:
    states = {one.name: str(one.state) for one in reply.ok().models}
    return states.get(server.options.model, "")


def _load(server: GrpcServer, model: str) -> Reply:
    request = service_pb2.RepositoryModelLoadRequest(model_name=model)
    return server.call("RepositoryModelLoad", request)


def _needs_control(server: GrpcServer) -> None:
    if not server.options.control:
        raise NotApplicable("may unload the model: allow it with --control")


def _allowed(reply: Reply) -> None:
    if reply.code in ("UNIMPLEMENTED", "UNAVAILABLE", "PERMISSION_DENIED", "FAILED_PRECONDITION"):
        raise NotOffered("control is switched off", sent=reply.sent, came=reply.came)
    reply.ok()
