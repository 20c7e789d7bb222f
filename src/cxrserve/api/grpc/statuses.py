"""Our errors as gRPC's rich statuses: a code, words, and details that programs can read."""

from __future__ import annotations

import math

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cxrserve.api.problems import grpc_code_of
from cxrserve.errors import CxrError, NotReadableAsChest, Overloaded, UnreadableImage

_DOMAIN = "cxrserve"
# Twice in headers, of which clients read 8 KiB, and most signs may take three or more bytes there.
_MOST_TEXT = 512
DETAILS_KEY = "grpc-status-details-bin"


def code_of(error: CxrError) -> grpc.StatusCode:
    """The status code of an error."""
    code: grpc.StatusCode = grpc.StatusCode[grpc_code_of(error)]
    return code


def detail_of(error: CxrError) -> str:
    """What was wrong, and what to do."""
    text = f"{error.detail}; {error.advice}" if error.advice else error.detail
    return text[:_MOST_TEXT]


def details_of(error: CxrError) -> bytes:
    """`google.rpc.Status` for the trailing metadata: `ErrorInfo`, and `RetryInfo` if there is one.

    `ErrorInfo.reason` is our error's code in capitals; `reasons` are an image's.
    """
    info = error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=_DOMAIN)
    if isinstance(error, NotReadableAsChest):
        info.metadata["reasons"] = ",".join(error.reasons)
    elif isinstance(error, UnreadableImage):
        info.metadata["reasons"] = error.reason
    details: list[Message] = [info]
    if isinstance(error, Overloaded):
        delay = Duration()
        delay.FromMilliseconds(max(1, math.ceil(error.retry_after_s * 1e3)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(
        code=code_of(error).value[0],
        message=detail_of(error),
        details=[_packed(one) for one in details],
    )
    return bytes(status.SerializeToString())


def _packed(message: Message) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed
