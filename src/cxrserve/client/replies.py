"""What came back, read: an answer, the error of a problem document, or nothing. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from cxrserve import errors
from cxrserve.answer import Answer, Explanation
from cxrserve.client.errors import UnexpectedAnswer, Unreachable
from cxrserve.errors import CxrError, DeadlineExceeded

View = TypeVar("View", bound=BaseModel)
Identified = TypeVar("Identified", Answer, Explanation)

_TRY_AGAIN = (429, 503)
# Nothing of the answer came, and asking again computes nothing twice that anyone sees.
_BROKEN_CONNECTION = (
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)
_ERRORS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CxrError)
}
# Said by the error's class, or in its own words; `instance` repeats the request's id.
_NOT_FACTS = ("type", "title", "detail", "advice", "code", "instance")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response, whole."""

    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)

    @property
    def worth_another(self) -> bool:
        """The service was busy or not there, and said so."""
        return self.status in _TRY_AGAIN

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of `Retry-After` (RFC 9110, section 10.2.3); None where it is not understood."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            # By the sender's own clock, which need not be ours.
            pause = parsedate_to_datetime(value) - parsedate_to_datetime(self.headers["date"])
        except (ValueError, TypeError, KeyError):
            return None
        return max(0.0, pause.total_seconds())


@dataclass(frozen=True, slots=True)
class Lost:
    """No response: what happened, and whether asking again may help. httpx's error is not kept:

    it carries the request, and that the image.
    """

    what: str
    worth_another: bool
    timed_out: bool
    retry_after_s: None = None


def reply_of(response: httpx.Response) -> Reply:
    """A response that has been read."""
    return Reply(response.status_code, response.headers, response.content)


def lost_of(error: httpx.HTTPError) -> Lost:
    """What is kept of httpx's error."""
    return Lost(
        what=type(error).__name__,
        worth_another=isinstance(error, _BROKEN_CONNECTION),
        timed_out=isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout),
    )


def read_view(kind: type[View], reply: Reply, _: str | None = None) -> View:
    """The JSON of a successful reply.

    Raises:
        CxrError: the reply's problem document; `UnexpectedAnswer` where it is not the service's.
    """
    check_success(reply)
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError as error:
        faults = error.error_count()
    # Out here, because pydantic's error quotes what it was given.
    raise UnexpectedAnswer(
        f"the answer does not read as {kind.__name__}: {faults} faults",
        advice="check the address, and that client and service are of one version",
        status=reply.status,
    )


def read_identified(kind: type[Identified], reply: Reply, expected_id: str | None) -> Identified:
    """The answer to the request of this id; to any, if None is expected.

    Raises:
        UnexpectedAnswer: it answers another request.
        CxrError: as for `read_view`.
    """
    given: Identified = read_view(kind, reply)
    _check_id(given.id, expected_id)
    return given


def read_picture(reply: Reply, expected_id: str | None) -> bytes:
    """The PNG of a reply; raises as `read_identified` does."""
    check_success(reply)
    if reply.headers.get("content-type", "").partition(";")[0] != "image/png":
        raise UnexpectedAnswer(
            "the answer is not a PNG", advice="check the address", status=reply.status
        )
    _check_id(reply.headers.get("x-request-id", expected_id), expected_id)
    return reply.body


def read_ready(came: Reply | Lost) -> bool:
    """What a readiness probe says; whoever cannot be reached is not ready.

    Raises:
        UnexpectedAnswer: there is no such probe.
    """
    if isinstance(came, Lost) or came.status in _TRY_AGAIN:
        return False
    check_success(came)
    return True


def check_success(reply: Reply) -> None:
    """Raise what the reply says, unless it is a success."""
    if not 200 <= reply.status < 300:
        raise _error_of(reply)


def error_of_lost(lost: Lost, deadline_ms: float | None) -> CxrError:
    """Why there is no answer."""
    if lost.timed_out and deadline_ms is not None:
        return DeadlineExceeded(
            f"no answer within {deadline_ms:g} ms", advice="ask with a later deadline_ms"
        )
    return Unreachable(
        f"no answer came ({lost.what})", advice="check the address, and whether it is ready"
    )


def _error_of(reply: Reply) -> CxrError:
    problem = _problem_in(reply.body)
    kind = _ERRORS.get(str(problem.get("code")))
    if kind is None:
        return UnexpectedAnswer(
            f"the answer has status {reply.status} and is no problem document of the service",
            advice="check the address, and what stands between",
            status=reply.status,
        )
    error = _made(kind, problem, reply)
    members = {name: value for name, value in problem.items() if name not in _NOT_FACTS}
    error.facts = {**members, "status": reply.status}
    return error


def _made(kind: type[CxrError], problem: Mapping[str, Any], reply: Reply) -> CxrError:
    detail, advice = str(problem.get("detail", "")), str(problem.get("advice", ""))
    reasons = problem.get("reasons")
    reasons = [str(reason) for reason in reasons] if isinstance(reasons, list) else []
    if issubclass(kind, errors.UnreadableImage):
        return kind(detail, advice=advice, reason=next(iter(reasons), ""))
    if issubclass(kind, errors.NotReadableAsChest):
        return kind(detail, advice=advice, reasons=reasons)
    if issubclass(kind, errors.Overloaded):
        return kind(detail, advice=advice, retry_after_s=reply.retry_after_s or 0.0)
    return kind(detail, advice=advice)


def _problem_in(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _check_id(given: str | None, expected: str | None) -> None:
    if expected is not None and given != expected:
        raise UnexpectedAnswer(
            "the answer is that of another request",
            advice="let what stands between keep X-Request-ID (Envoy: "
            "preserve_external_request_id), or ask without check_ids",
        )
