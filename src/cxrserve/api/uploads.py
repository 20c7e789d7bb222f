"""Request bodies, read within limits and kept in memory: an upload never touches the disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cxrserve.batching.admission import Admitted
from cxrserve.errors import BadRequest, EmptyUpload, NoImagePart, SeveralImages, UploadTooLarge
from cxrserve.radiograph.limits import MIB, Limits

# What multipart adds around an image: boundaries, headers, a few small fields.
_ENVELOPE_BYTES = 64 * 1024
# A sender that is refused at once often misses the answer, so what it still sends is read and
# dropped, up to here.
_MOST_DROPPED = 512 * MIB


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file, and what its sender called it."""

    data: bytes
    content_type: str | None


async def read_upload(request: Request, limits: Limits, admitted: Admitted) -> Upload:
    """Read the one image of a request: the raw body, or the multipart part `image`.

    Raises:
        UploadTooLarge: the body is over the limit; the rest of it is dropped, not kept.
        EmptyUpload, NoImagePart, SeveralImages, BadRequest: as they say.
        Overloaded: too many uploads at once.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        return await _multipart(request, limits, admitted)
    body = bytearray()
    async for chunk in _bounded(request, limits.upload_bytes, admitted):
        body += chunk
    if not body:
        raise EmptyUpload(
            "the request has no body",
            advice="send the image as the body (curl --data-binary @FILE) or as the part `image`",
        )
    return Upload(bytes(body), content_type or None)


async def _multipart(request: Request, limits: Limits, admitted: Admitted) -> Upload:
    stream = _bounded(request, limits.upload_bytes + _ENVELOPE_BYTES, admitted)
    parser = MultiPartParser(
        request.headers, stream, max_files=8, max_fields=32, max_part_size=_ENVELOPE_BYTES
    )
    # Starlette spools parts over 1 MiB to a temporary file; patients do not belong there.
    parser.spool_max_size = limits.upload_bytes + _ENVELOPE_BYTES
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise BadRequest(
            "the multipart body is malformed", advice="send it as curl -F image=@FILE does"
        ) from error
    try:
        images = form.getlist("image")
        if len(images) > 1:
            raise SeveralImages(
                f"{len(images)} parts are called `image`", advice="send one image a request"
            )
        if not images:
            raise NoImagePart("no part is called `image`", advice="send it as curl -F image=@FILE")
        image = images[0]
        if not isinstance(image, UploadFile):
            raise NoImagePart(
                "the part `image` is text, not a file", advice="send it as curl -F image=@FILE"
            )
        return Upload(await image.read(), image.content_type)
    finally:
        await form.close()


async def _bounded(request: Request, most: int, admitted: Admitted) -> AsyncGenerator[bytes, None]:
    """The body's chunks; one byte over `most` drops the rest and raises `UploadTooLarge`."""
    declared = request.headers.get("content-length", "")
    too_large = declared.isdigit() and int(declared) > most
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        too_large = too_large or received > most
        if not too_large:
            admitted.grow(len(chunk))
            yield chunk
        elif received > _MOST_DROPPED:
            break
    if too_large:
        raise UploadTooLarge(
            f"the upload has more than {most} bytes",
            advice="send one radiograph at a time, compressed without loss if need be",
            limit_bytes=most,
        )
