"""The server under test, over gRPC: requests in, replies with what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from cxrserve.conformance.checks import Catalogue
from cxrserve.conformance.messages import service_pb2, service_pb2_grpc
from cxrserve.conformance.model import Model, Options, read_model
from cxrserve.conformance.specification import Extension
from cxrserve.conformance.tensors import Tensor
from cxrserve.conformance.verdicts import Differs, Failed, NotApplicable

_SHOWN = 240
# A server that says these did not refuse: it broke, or says no more than that something did.
_CRASHES = ("UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, and the call that it is to: `code` is gRPC's name of the status, as "OK"."""

    sent: str
    code: str
    details: str
    message: Any

    @property
    def came(self) -> str:
        """The reply, shortened for a message."""
        return f"{self.code} {self.details or _shown(self.message)}".rstrip()

    def failure(self, expected: str) -> Failed:
        """The remark that this reply breaks a rule."""
        return Failed(expected, sent=self.sent, came=self.came)

    def difference(self, expected: str) -> Differs:
        """The remark that servers differ here."""
        return Differs(expected, sent=self.sent, came=self.came)

    def ok(self) -> Any:
        """The message.

        Raises:
            Failed: the status is not OK.
        """
        if self.code != "OK":
            raise self.failure("the status OK")
        return self.message

    def refused(self, *codes: str) -> None:
        """Demand a clean refusal.

        Args:
            codes: one of these; none given: INVALID_ARGUMENT.

        Raises:
            Failed: it was accepted, or the server broke.
            Differs: another status; OIP says only that codes other than OK mean failure.
        """
        code = " or ".join(codes or ("INVALID_ARGUMENT",))
        if self.code == "OK":
            raise self.failure(f"a refusal, {code}")
        if self.code in _CRASHES:
            raise self.failure(f"{code}: {self.code} tells a client nothing, or to try again")
        if not self.details:
            raise self.difference(f"{code}, with the reason in words")
        if self.code not in (codes or ("INVALID_ARGUMENT",)) and self.code != "UNIMPLEMENTED":
            raise self.difference(f"{code}: the mistake is the client's")


class GrpcServer:
    """A server, asked over gRPC.

    Args:
        channel: an open channel to it.
        options: which model, and what may be done.
    """

    def __init__(self, channel: grpc.Channel, options: Options) -> None:
        self.channel, self.options = channel, options
        # HTTP/2 has its names in small letters.
        self._metadata = [(name.lower(), value) for name, value in options.headers]
        # Any: neither tritonclient nor what protoc wrote for gRPC carries types.
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    @cached_property
    def extensions(self) -> frozenset[str]:
        """What the server's metadata list; empty if they cannot be read."""
        reply = self.call("ServerMetadata", service_pb2.ServerMetadataRequest())
        return frozenset(reply.message.extensions if reply.code == "OK" else ())

    @cached_property
    def model(self) -> Model:
        """The model, by its metadata.

        Raises:
            NotApplicable: they cannot be read, so nothing can be sent.
        """
        try:
            return read_metadata(self.metadata().ok(), self._optional_inputs())
        except (Failed, ValueError) as reason:
            raise NotApplicable(f"the model's metadata cannot be read: {reason}") from None

    @cached_property
    def sample(self) -> tuple[Tensor, ...]:
        """Valid inputs for the model."""
        return self.model.sample(self.options)

    def metadata(self, *, model: str = "", version: str = "") -> Reply:
        """ModelMetadata."""
        return self.call("ModelMetadata", self.named("ModelMetadataRequest", model, version))

    def named(self, kind: str, model: str = "", version: str = "") -> Any:
        """A request message that has only `name` and `version`."""
        return getattr(service_pb2, kind)(name=model or self.options.model, version=version)

    def call(self, method: str, request: Any, **how: Any) -> Reply:
        """Call a method of GRPCInferenceService; `how` as for `ask`."""
        return self.ask(getattr(self._stub, method), request, name=method, **how)

    def ask(
        self,
        method: Any,
        request: Any,
        *,
        name: str,
        timeout_s: float | None = None,
        compression: Any = None,
    ) -> Reply:
        """Call any method that takes one message and gives one."""
        sent = f"{name} {_shown(request)}".rstrip()
        try:
            message = method(
                request,
                timeout=timeout_s or self.options.timeout_s,
                metadata=self._metadata,
                compression=compression,
            )
        except grpc.RpcError as error:
            return _refusal(sent, error)
        return Reply(sent, "OK", "", message)

    def stream(
        self, requests: Iterable[Any], *, method: Any = None, name: str = "ModelStreamInfer"
    ) -> tuple[list[Any], Reply]:
        """Send all messages of a stream, and read what comes until it ends or breaks."""
        listed = list(requests)
        sent = f"{name} ({len(listed)} messages) {_shown(listed[0])}"
        called = method or self._stub.ModelStreamInfer
        received: list[Any] = []
        try:
            for message in called(
                iter(listed), timeout=self.options.timeout_s, metadata=self._metadata
            ):
                received.append(message)
        except grpc.RpcError as error:
            return received, _refusal(sent, error)
        return received, Reply(sent, "OK", "", received[-1] if received else None)

    def _optional_inputs(self) -> frozenset[str]:
        """Inputs that the model's configuration calls optional; its own check looks at the rest."""
        if Extension.CONFIG not in self.extensions:
            return frozenset()
        reply = self.call("ModelConfig", self.named("ModelConfigRequest"))
        inputs = reply.message.config.input if reply.code == "OK" else ()
        return frozenset(one.name for one in inputs if one.optional)


GRPC: Catalogue[GrpcServer] = Catalogue()


def read_metadata(message: Any, optional: frozenset[str] = frozenset()) -> Model:
    """A ModelMetadataResponse.

    Raises:
        ValueError: it is not as OIP has it.
    """
    document = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for member in ("inputs", "outputs"):
        for one in document.get(member, []):
            # Protocol buffers' JSON writes int64 as text.
            one["shape"] = [int(size) for size in one.get("shape", [])]
    return read_model(document, optional)


def _refusal(sent: str, error: Any) -> Reply:
    # Every error that a call raises is a grpc.Call too, which has these.
    return Reply(sent, error.code().name, error.details() or "", None)


def _shown(message: Message | None) -> str:
    text = " ".join(str(message or "").split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
