"""Bodies of the protocol's requests: within limits, uncompressed, in memory."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import Request

from cxrserve.api.uploads import read_body
from cxrserve.batching.admission import Admitted
from cxrserve.errors import BadRequest, UnsupportedUpload, UploadTooLarge

# 16 + 15: zlib tells gzip's header; 15: deflate is zlib's format (RFC 9110, section 8.4.1.2).
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def body_of(request: Request, admitted: Admitted, *, most_bytes: int) -> bytes:
    """The body, inflated where `Content-Encoding` says so.

    Raises:
        UploadTooLarge: it has, or would inflate to, more than `most_bytes`.
        UnsupportedUpload: a coding that is not read here.
        BadRequest: it is not in the coding it says.
    """
    body = await read_body(request, most_bytes, admitted)
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOWS:
        raise UnsupportedUpload(
            f"the content coding {coding[:32]!r} is not read here", advice="send gzip or deflate"
        )
    inflated = await asyncio.to_thread(_inflated, body, _WINDOWS[coding], most_bytes)
    admitted.grow(max(0, len(inflated) - len(body)))
    return inflated


def _inflated(body: bytes, window: int, most_bytes: int) -> bytes:
    stream = zlib.decompressobj(window)
    try:
        inflated = stream.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise BadRequest("the body is not in the coding that Content-Encoding names") from error
    if len(inflated) > most_bytes:
        raise UploadTooLarge(
            f"the body inflates to more than {most_bytes} bytes", limit_bytes=most_bytes
        )
    if not stream.eof or stream.unused_data:
        raise BadRequest("the compressed body breaks off, or goes on behind its end")
    return inflated
