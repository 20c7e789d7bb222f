# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""gRPC for callers: the typed service, and the Open Inference Protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from tritonclient.grpc import service_pb2, service_pb2_grpc

from cxrserve.v1 import radiology_pb2, radiology_pb2_grpc
from load_tests.callers import came
from load_tests.callers.came import Came
from load_tests.callers.checking import Seen
from load_tests.callers.events import Outcome
from load_tests.callers.films import Expected, Film
from load_tests.callers.http_wire import Terms

OIP_MODEL = "triage"
"""Of the default models, the one that OIP callers ask: that protocol asks one at a time."""

_LARGEST = 64 << 20
_OPTIONS = [
    # Else channels to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
    # Else a channel that met a restart comes back after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Retries are ours to count.
    ("grpc.enable_retries", 0),
]
_PRIORITIES = {
    "stat": radiology_pb2.PRIORITY_STAT,
    "urgent": radiology_pb2.PRIORITY_URGENT,
    "routine": radiology_pb2.PRIORITY_ROUTINE,
}
_OIP_PRIORITIES = {"stat": 1, "urgent": 2, "routine": 3}
# As google/rpc/code.proto says which HTTP status stands for which code.
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_DETAILS = "grpc-status-details-bin"
# How gRPC tells of a connection that ended under a call, besides UNAVAILABLE.
_ENDED = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class TypedWire:
    """Asks `cxrserve.v1.Radiology`.

    Args:
        target: `host:port`.
    """

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._stub = radiology_pb2_grpc.RadiologyStub(self._channel)

    def predict(self, film: Film, terms: Terms) -> Came:
        """Ask about one film."""
        question = radiology_pb2.PredictRequest(
            image=film.data,
            content_type=film.content_type,
            options=radiology_pb2.Options(
                priority=_PRIORITIES[terms.priority], deadline_ms=terms.deadline_ms
            ),
        )
        metadata = (("x-request-id", terms.request),)
        return _called(
            lambda: self._stub.Predict(question, timeout=terms.limit_s, metadata=metadata),
            _typed_answer,
            terms,
        )

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


class OipWire:
    """Asks `inference.GRPCInferenceService`.

    Args:
        target: `host:port`.
    """

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def predict(self, film: Film, terms: Terms) -> Came:
        """Ask about one film."""
        question = service_pb2.ModelInferRequest(
            model_name=OIP_MODEL,
            id=terms.request,
            inputs=[
                service_pb2.ModelInferRequest.InferInputTensor(
                    name="image", datatype="BYTES", shape=[1, 1]
                )
            ],
            outputs=[
                service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
            ],
            raw_input_contents=[len(film.data).to_bytes(4, "little") + film.data],
        )
        question.parameters["priority"].uint64_param = _OIP_PRIORITIES[terms.priority]
        question.parameters["timeout"].int64_param = round(terms.deadline_ms * 1e3)
        return _called(
            lambda: self._stub.ModelInfer(question, timeout=terms.limit_s),
            lambda answer: _oip_answer(answer, film.expected),
            terms,
        )

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


def _called(call: Callable[[], Any], read: Callable[[Any], Seen], terms: Terms) -> Came:
    started = time.monotonic()
    try:
        answer = call()
    except grpc.RpcError as error:
        return _failed(error, terms, time.monotonic() - started)
    try:
        return Came(outcome=Outcome.ANSWERED, status=200, seen=read(answer))
    except (ValueError, KeyError) as error:
        return Came(outcome=Outcome.WRONG, status=200, why=str(error))


def _failed(error: Any, terms: Terms, took_s: float) -> Came:
    code, detail = error.code(), str(error.details())
    told = _details_of(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and took_s >= terms.limit_s * 0.99:
        # Ours, not the service's: that has the film's deadline, which is sooner.
        return came.silent(terms.limit_s)
    if not told and (code is grpc.StatusCode.UNAVAILABLE or (code in _ENDED and _broke(detail))):
        return came.broken(f"{code.name}: connection")
    status = _STATUSES.get(code, 500)
    return Came(
        outcome=came.outcome_of(status),
        status=status,
        why=code.name,
        retry_after_s=_retry_after_s(told),
    )


def _broke(detail: str) -> bool:
    return any(word in detail for word in ("RST_STREAM", "Stream removed", "GOAWAY", "reset"))


def _details_of(error: Any) -> bytes:
    """What the service says of its error; a connection that broke has none."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS:
            return bytes(value)
    return b""


def _retry_after_s(details: bytes) -> float | None:
    for detail in status_pb2.Status.FromString(details).details:
        told = error_details_pb2.RetryInfo()
        if detail.Unpack(told):
            return float(told.retry_delay.ToTimedelta().total_seconds())
    return None


def _typed_answer(answer: Any) -> Seen:
    if not answer.results or not answer.notice or not answer.HasField("timings_ms"):
        raise ValueError("the answer lacks results, notice or timings")
    return Seen(
        request=answer.id,
        sha256=answer.image.sha256,
        width=answer.image.width,
        height=answer.image.height,
        warnings=tuple(remark.code for remark in answer.image.warnings),
        digests={one.model.name: one.model.digest for one in answer.results},
        probabilities={
            one.model.name: {
                finding.label: finding.probability if finding.HasField("probability") else None
                for finding in one.findings
            }
            for one in answer.results
        },
    )


def _oip_answer(answer: Any, expected: Expected) -> Seen:
    """OIP names no labels: they are in the order in which REST gives them."""
    for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        if tensor.name == "probabilities":
            row = np.frombuffer(raw, np.dtype("<f4")).tolist()
            labels = list(expected.probabilities[OIP_MODEL])
            if list(tensor.shape) != [1, len(labels)]:
                raise ValueError(f"probabilities of shape {list(tensor.shape)}")
            values = {
                label: None if math.isnan(value) else value
                for label, value in zip(labels, row, strict=True)
            }
            return Seen(
                request=answer.id,
                digests={answer.model_name: answer.parameters["digest"].string_param},
                probabilities={answer.model_name: values},
            )
    raise ValueError("the answer has no output `probabilities`")
