"""Around every request: its id, its line in the log, its count, and a last line of defence."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxrserve.api import problems
from cxrserve.errors import CxrError
from cxrserve.observability.logs import facts_of
from cxrserve.observability.record import ANSWERED, Record, TraceParent, begin
from cxrserve.observability.telemetry import Telemetry

_log = logging.getLogger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NO_ROUTE = "other"
_GONE = (0, 499)
# Routes that ask one question.
_PROTOCOLS = {"/v1/predict": "rest", "/v1/explain": "rest"}
_OIP_INFER = re.compile(r"/v2/models/.*/infer")
_BATCH = "/v1/predict/batch"


def problem_response(
    document: dict[str, Any], headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem document as a response."""
    return JSONResponse(
        document,
        status_code=document["status"],
        headers=headers,
        media_type=problems.MEDIA_TYPE,
    )


def unforeseen(error: Exception, request_id: str) -> CxrError:
    """What the caller gets for an error that nobody foresaw; its places go to the log.

    Its text does not: it may quote a header, and headers name patients.
    """
    _log.error("%s failed: %s", request_id, _places(error))
    return CxrError("the service failed on this request", advice="report the instance")


class RequestEnvelope:
    """Gives every request an id, counts and logs it, and answers what nobody foresaw.

    Log and metrics get the route's template, never the path: a path may hold a patient's name.

    Args:
        is_leaving: answers then ask their connections to be closed, so that callers who keep one
            come to another replica before this one ends.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, is_leaving: Callable[[], bool]) -> None:
        self._app, self._telemetry, self._is_leaving = app, telemetry, is_leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        parent = headers.get(b"traceparent", b"").decode("latin-1")
        # Films of a batch take their protocol from here; of others it is known with the route.
        record = begin("batch", request_id, TraceParent.read(parent) if parent else None)
        scope.setdefault("state", {})["id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", request_id.encode("latin-1"))
                message["headers"] = [*message["headers"], header]
                if self._is_leaving():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            failure = unforeseen(error, request_id)
            record.ended(failure.code)
            if status:
                raise ConnectionAbortedError("the answer broke off") from None
            document = problems.problem_of(failure, request_id)
            await problem_response(document)(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            route = _NO_ROUTE if route in ("", "/{path:path}") else route
            self._ended(record, scope["method"], route, status)

    def _ended(self, record: Record, method: str, route: str, status: int) -> None:
        seconds = record.clock() - record.began
        self._telemetry.metrics.served(method, route, status, seconds)
        record.protocol = _protocol_of(route, status)
        if record.protocol:
            if status not in _GONE:
                record.ended(ANSWERED if status < 400 else "bad_request")
            self._telemetry.ended(record)
        _log.info(
            "%s %s %s %d %.1f ms",
            record.request_id, method, route, status, seconds * 1e3,
            extra={"facts": facts_of(record, seconds, method=method, route=route, status=status)},
        )  # fmt: skip


def _protocol_of(route: str, status: int) -> str:
    """Of a question; of the films of a batch only where it was refused before they were read."""
    if route == _BATCH:
        return "batch" if status >= 400 and status not in _GONE else ""
    return "oip-http" if _OIP_INFER.fullmatch(route) else _PROTOCOLS.get(route, "")


def is_safe_id(asked: str) -> bool:
    """It may stand in the log: no spaces, no line ends, not long."""
    return _SAFE_ID.fullmatch(asked) is not None


def _request_id(headers: dict[bytes, bytes]) -> str:
    asked = headers.get(b"x-request-id", b"").decode("latin-1")
    return asked if is_safe_id(asked) else str(uuid.uuid4())


def _places(error: BaseException) -> str:
    places, trace = [], error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        places.append(f"{file}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-6:]))}"
