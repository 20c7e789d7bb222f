"""Settings of tracing and logging, and shared memory. Writing needs --control."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_trace = GRPC(Section.TRACE, triton("extension_trace"), extension=Extension.TRACE)
_logging = GRPC(Section.LOGGING, triton("extension_logging"), extension=Extension.LOGGING)
_shared_memory = GRPC(Section.SHARED_MEMORY, triton("extension_shared_memory"))


@_trace
def trace_settings_can_be_read(server: GrpcServer) -> None:
    reply = server.call("TraceSetting", service_pb2.TraceSettingRequest())
    if "trace_level" not in _settings(reply):
        raise reply.failure("the setting trace_level")


@_trace
def the_models_trace_settings_can_be_read(server: GrpcServer) -> None:
    request = service_pb2.TraceSettingRequest(model_name=server.options.model)
    _settings(server.call("TraceSetting", request))


@_trace
def trace_settings_can_be_written(server: GrpcServer) -> None:
    _needs_control(server)
    before = _settings(server.call("TraceSetting", service_pb2.TraceSettingRequest()))
    request = service_pb2.TraceSettingRequest()
    request.settings["trace_level"].value.extend(before["trace_level"].value)
    reply = server.call("TraceSetting", request)
    if list(_settings(reply)["trace_level"].value) != list(before["trace_level"].value):
        raise reply.failure("the settings after the change")


@_logging
def log_settings_can_be_read(server: GrpcServer) -> None:
    reply = server.call("LogSettings", service_pb2.LogSettingsRequest())
    if "log_verbose_level" not in _settings(reply):
        raise reply.failure("the setting log_verbose_level")


@_logging
def log_settings_can_be_written(server: GrpcServer) -> None:
    _needs_control(server)
    before = _settings(server.call("LogSettings", service_pb2.LogSettingsRequest()))
    level = before["log_verbose_level"].uint32_param
    request = service_pb2.LogSettingsRequest()
    request.settings["log_verbose_level"].uint32_param = level
    reply = server.call("LogSettings", request)
    if _settings(reply)["log_verbose_level"].uint32_param != level:
        raise reply.failure("the settings after the change")


@_shared_memory
def system_regions_are_listed_or_refused(server: GrpcServer) -> None:
    request = service_pb2.SystemSharedMemoryStatusRequest()
    reply = server.call("SystemSharedMemoryStatus", request)
    _listed_or_refused(server, reply, Extension.SYSTEM_MEMORY)


@_shared_memory
def CUDA_regions_are_listed_or_refused(server: GrpcServer) -> None:  # noqa: N802
    request = service_pb2.CudaSharedMemoryStatusRequest()
    reply = server.call("CudaSharedMemoryStatus", request)
    _listed_or_refused(server, reply, Extension.CUDA_MEMORY)


def _settings(reply: Reply) -> Any:
    if reply.code in ("UNIMPLEMENTED", "UNAVAILABLE"):
        raise NotOffered("listed, yet refused", sent=reply.sent, came=reply.came)
    return reply.ok().settings


def _listed_or_refused(server: GrpcServer, reply: Reply, extension: Extension) -> None:
    if reply.code != "OK":
        reply.refused("UNIMPLEMENTED")
        raise NotOffered("shared memory is refused", sent=reply.sent, came=reply.came)
    if extension not in server.extensions:
        raise reply.difference(f"{str(extension)!r} in the list of extensions")


def _needs_control(server: GrpcServer) -> None:
    if not server.options.control:
        raise NotApplicable("writes settings: allow it with --control")
