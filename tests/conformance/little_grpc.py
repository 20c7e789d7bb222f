"""A little server that speaks the protocol over gRPC; and the same with a fault, when told.

Its model is `simple`; it offers no extension, but gRPC's own health service.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cxrserve.conformance.messages import service_pb2, service_pb2_grpc
from cxrserve.conformance.tensors import from_raw

_NAMES = ("INPUT0", "INPUT1")


class Refusal(Exception):
    """What a call is answered with instead."""

    def __init__(self, code: Any, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _invalid(reason: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason)


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def ServerLive(self, _request: Any, _context: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, _request: Any, _context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=self.fault != "never ready")

    def ModelReady(self, request: Any, _context: Any) -> Any:
        known = request.name == "simple" and request.version in ("", "1")
        return service_pb2.ModelReadyResponse(ready=known or self.fault == "all is ready")

    def ServerMetadata(self, _request: Any, _context: Any) -> Any:
        return service_pb2.ServerMetadataResponse(name="little", version="1")

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        try:
            _check_model(request.name, request.version)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        response = service_pb2.ModelMetadataResponse(
            name="simple", versions=["1"], platform="little"
        )
        for name in _NAMES:
            response.inputs.add(name=name, datatype="INT32", shape=[-1, 16])
            response.outputs.add(name=f"OUT{name[2:]}", datatype="INT32", shape=[-1, 16])
        return response

    def ModelInfer(self, request: Any, context: Any) -> Any:
        if self.fault == "crashes on unknown models" and request.model_name != "simple":
            raise KeyError(request.model_name)
        try:
            return self._answer(request)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            response = service_pb2.ModelStreamInferResponse()
            try:
                response.infer_response.CopyFrom(self._answer(request))
            except Refusal as refusal:
                if self.fault == "an error ends the stream":
                    context.abort(refusal.code, str(refusal))
                response.error_message = str(refusal)
                response.infer_response.id = request.id
            yield response

    def _answer(self, request: Any) -> Any:
        _check_model(request.model_name, request.model_version)
        inputs = self._inputs(request)
        first, second = (inputs[name] for name in _NAMES)
        sums = [int(a) + int(b) for a, b in zip(first.elements, second.elements, strict=True)]
        lefts = [int(a) - int(b) for a, b in zip(first.elements, second.elements, strict=True)]
        response = service_pb2.ModelInferResponse(
            model_name="simple",
            model_version="1",
            id="" if self.fault == "the id is lost" else request.id,
        )
        asked = [one.name for one in request.outputs] or ["OUTPUT0", "OUTPUT1"]
        for name in asked:
            if name not in ("OUTPUT0", "OUTPUT1"):
                raise _invalid("unknown output")
            one = response.outputs.add(name=name, datatype="INT32", shape=first.shape)
            one.contents.int_contents.extend(sums if name == "OUTPUT0" else lefts)
        return response

    def _inputs(self, request: Any) -> dict[str, Any]:
        listed, raw = list(request.inputs), list(request.raw_input_contents)
        if sorted(one.name for one in listed) != sorted(_NAMES):
            raise _invalid("inputs")
        if raw and len(raw) != len(listed):
            raise _invalid("raw_input_contents")
        if self.fault == "raw contents by name":
            listed.sort(key=lambda one: str(one.name))
        return {one.name: self._input(one, raw.pop(0) if raw else None) for one in listed}

    def _input(self, one: Any, raw: bytes | None) -> Any:
        if one.datatype != "INT32" or len(one.shape) != 2 or one.shape[1] != 16:
            raise _invalid("datatype or shape")
        if not 0 < one.shape[0] <= 8:
            raise _invalid("batch")
        if one.HasField("contents") and raw is not None and self.fault != "takes both contents":
            raise _invalid("contents twice")
        numbers = list(one.contents.int_contents)
        if self.fault == "typed contents are zeros":
            numbers = [0] * len(numbers)
        if raw is None:
            raw = b"".join(number.to_bytes(4, "little", signed=True) for number in numbers)
        try:
            return from_raw(one.name, "INT32", tuple(one.shape), raw)
        except ValueError as error:
            raise _invalid(str(error)) from None


def _check_model(name: str, version: str) -> None:
    if version not in ("", "1") and not version.isdigit():
        raise _invalid("versions are numbers")
    if name != "simple" or version not in ("", "1"):
        raise Refusal(grpc.StatusCode.NOT_FOUND, "unknown model")


@contextmanager
def running_little_grpc(fault: str = "") -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; gives host:port."""
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(fault), server)
        servicer: Any = health.HealthServicer()
        servicer.set("inference.GRPCInferenceService", health_pb2.HealthCheckResponse.SERVING)
        add: Any = health_pb2_grpc.add_HealthServicer_to_server
        add(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
