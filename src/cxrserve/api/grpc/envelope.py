"""Around every call: its id, its line in the log, its count, and its errors as statuses."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from cxrserve.api.envelope import is_safe_id, unforeseen
from cxrserve.api.grpc.callers import Context
from cxrserve.api.grpc.statuses import DETAILS_KEY, code_of, detail_of, details_of
from cxrserve.errors import BadRequest, CxrError
from cxrserve.observability.logs import facts_of
from cxrserve.observability.record import ANSWERED, Record, TraceParent, begin, current
from cxrserve.observability.telemetry import Telemetry

_log = logging.getLogger(__name__)
REQUEST_ID = "x-request-id"
# Methods that ask one question; those of streams ask one a message.
_PROTOCOLS = {
    "/cxrserve.v1.Radiology/Predict": "grpc",
    "/cxrserve.v1.Radiology/Explain": "grpc",
    "/inference.GRPCInferenceService/ModelInfer": "oip-grpc",
}
# What stands for bytes that are no message: gRPC itself would call them a failure of ours.
_NO_MESSAGE = object()


class Envelope(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the handlers of all services. Log and metrics get the method's name, nothing else."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler, wrapped."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._answering(method, handler.unary_unary),
                request_deserializer=_forgiving(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, handler.stream_stream),
                request_deserializer=_forgiving(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        return handler

    def _answering(self, method: str, answer: Any) -> Any:
        async def wrapped(request: Any, context: Context) -> Any:
            with self._watched(method, context) as call_id:
                try:
                    return await answer(_checked(request), context)
                except Exception as error:  # noqa: BLE001 - the last line of defence
                    await self._abort(error, call_id, context)

        return wrapped

    def _streaming(self, method: str, stream: Any) -> Any:
        async def wrapped(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            with self._watched(method, context) as call_id:
                try:
                    # A caller who goes must end what is computed for him at once.
                    async with aclosing(stream(_each_checked(requests), context)) as answers:
                        async for answer in answers:
                            yield answer
                except Exception as error:  # noqa: BLE001 - the last line of defence
                    await self._abort(error, call_id, context)

        return wrapped

    @contextmanager
    def _watched(self, method: str, context: Context) -> Iterator[str]:
        sent = dict(context.invocation_metadata() or ())
        record = begin(_PROTOCOLS.get(method, ""), _asked_id(sent), _parent(sent))
        context.set_trailing_metadata(((REQUEST_ID, record.request_id),))
        ended = "CANCELLED"
        try:
            yield record.request_id
            ended = "OK"
            record.ended(ANSWERED)
        except grpc.aio.AbortError:
            ended = _name_of(context.code())
            raise
        finally:
            self._ended(record, method, ended)

    def _ended(self, record: Record, method: str, status: str) -> None:
        seconds = record.clock() - record.began
        self._telemetry.metrics.called(method, status, seconds)
        if record.protocol:
            self._telemetry.ended(record)
        _log.info(
            "%s %s %s %.1f ms",
            record.request_id, method, status, seconds * 1e3,
            extra={"facts": facts_of(record, seconds, method=method, status=status)},
        )  # fmt: skip

    async def _abort(self, error: Exception, request_id: str, context: Context) -> None:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, grpc.aio.AbortError):
            raise error
        known = error if isinstance(error, CxrError) else unforeseen(error, request_id)
        self._telemetry.refused(known)
        metadata = ((DETAILS_KEY, details_of(known)), (REQUEST_ID, request_id))
        await context.abort(code_of(known), detail_of(known), metadata)


def _forgiving(deserialize: Any) -> Callable[[bytes], Any]:
    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return _NO_MESSAGE

    return read


def _checked(request: Any) -> Any:
    if request is _NO_MESSAGE:
        raise BadRequest("the bytes that came are no message of this method")
    return request


async def _each_checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


def request_id() -> str:
    """The id of the call that is being answered: its caller's if that is safe, else a new one."""
    return current().request_id


def _asked_id(sent: dict[str, str | bytes]) -> str:
    asked = sent.get(REQUEST_ID, "")
    return asked if isinstance(asked, str) and is_safe_id(asked) else str(uuid.uuid4())


def _parent(sent: dict[str, str | bytes]) -> TraceParent | None:
    header = sent.get("traceparent", "")
    return TraceParent.read(header) if isinstance(header, str) else None


def _name_of(code: Any) -> str:
    """gRPC gives the code that was set as its number or as its enum."""
    for one in grpc.StatusCode:
        if code in (one, one.value[0]):
            return str(one.name)
    return "UNKNOWN"
