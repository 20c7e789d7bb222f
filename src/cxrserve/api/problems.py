"""The one table from our errors to HTTP problem documents (RFC 9457)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from cxrserve import errors
from cxrserve.errors import CxrError

MEDIA_TYPE = "application/problem+json"

# From the most special class to the most general: the first that fits counts. HTTP's status, and
# gRPC's code by name.
_STATUS: tuple[tuple[type[CxrError], int, str], ...] = (
    (errors.BadRequest, 400, "INVALID_ARGUMENT"),
    (errors.UploadTooLarge, 413, "INVALID_ARGUMENT"),
    (errors.UnsupportedUpload, 415, "INVALID_ARGUMENT"),
    (errors.UnreadableImage, 422, "INVALID_ARGUMENT"),
    (errors.NotReadableAsChest, 422, "FAILED_PRECONDITION"),
    (errors.ModelNotFound, 404, "NOT_FOUND"),
    (errors.LabelNotFound, 404, "NOT_FOUND"),
    (errors.NotAcceptable, 406, "INVALID_ARGUMENT"),
    (errors.NotOffered, 501, "UNIMPLEMENTED"),
    (errors.Overloaded, 429, "RESOURCE_EXHAUSTED"),
    (errors.NotReady, 503, "UNAVAILABLE"),
    (errors.EngineUnavailable, 503, "UNAVAILABLE"),
    (errors.DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
    (errors.CxrError, 500, "INTERNAL"),
)
_TITLES = {
    "empty_upload": "The upload is empty",
    "no_image_part": "The part `image` is missing",
    "several_images": "More than one image came",
    "unknown_option": "An option has a value that is not in its list",
    "bad_request": "The request is malformed",
    "bad_tensor": "A tensor is not what the model takes",
    "too_large": "The upload is over a limit",
    "unsupported_media_type": "This kind of file is not read here",
    "unreadable_image": "The image cannot be read",
    "not_readable_as_chest": "This is not a readable chest radiograph",
    "model_not_found": "No such model is loaded",
    "label_not_found": "No model has a class map of this label",
    "not_acceptable": "The answer is not given in a form you accept",
    "not_offered": "This is not served here",
    "overloaded": "Too many requests are waiting",
    "deadline_exceeded": "The deadline passed",
    "not_ready": "The service is not ready",
    "engine_failure": "The network could not be run",
    "engine_unavailable": "What runs the network cannot be reached",
    "internal": "The service failed",
}


def status_of(error: CxrError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status, _ in _STATUS if isinstance(error, kind))


def grpc_code_of(error: CxrError) -> str:
    """The name of the gRPC status code of an error."""
    return next(code for kind, _, code in _STATUS if isinstance(error, kind))


def problem_of(error: CxrError, request_id: str) -> dict[str, Any]:
    """The problem document of an error.

    `reasons` are machine-readable and there for every image that was refused; `advice` says what
    to do; the other members are facts of this error, such as the limit that was passed.
    """
    document: dict[str, Any] = {
        "type": f"urn:cxrserve:problem:{error.code}",
        "title": _TITLES.get(error.code, error.code),
        "status": status_of(error),
        "detail": error.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": error.code,
    }
    if error.advice:
        document["advice"] = error.advice
    if isinstance(error, errors.UnreadableImage):
        document["reasons"] = [error.reason]
    if isinstance(error, errors.NotReadableAsChest):
        document["reasons"] = list(error.reasons)
    return {**error.facts, **document}


def headers_of(error: CxrError) -> dict[str, str]:
    """`Retry-After` (RFC 9110, whole seconds) where there is a time to come back."""
    if isinstance(error, errors.Overloaded):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    soon = isinstance(error, errors.NotReady | errors.EngineUnavailable)
    return {"Retry-After": "5"} if soon else {}


def http_problem(status: int, detail: str, request_id: str) -> dict[str, Any]:
    """The problem document of a plain HTTP error, such as an unknown path."""
    phrase = HTTPStatus(status).phrase
    return {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{request_id}",
        "code": phrase.lower().replace(" ", "_").replace("-", "_"),
    }
