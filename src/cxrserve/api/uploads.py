"""Request bodies, read within limits and kept in memory: an upload never touches the disk."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cxrserve.batching.admission import Admitted
from cxrserve.errors import BadRequest, EmptyUpload, NoImagePart, SeveralImages, UploadTooLarge
from cxrserve.radiograph.limits import MIB, Limits

# What multipart adds around an image: boundaries, headers, a few small fields.
_ENVELOPE_BYTES = 64 * 1024
_SEND_ONE = "send it as curl -F image=@FILE"
_SEND_SEVERAL = "send them as curl -F image=@FILE -F image=@FILE"
# A sender that is refused at once often misses the answer, so what it still sends is read and
# dropped, up to here.
_MOST_DROPPED = 512 * MIB


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file, and what its sender called it."""

    data: bytes
    content_type: str | None


@dataclass(frozen=True, slots=True)
class NamedUpload(Upload):
    """One of several uploaded files; its name goes back to its sender, and nowhere else."""

    name: str = field(repr=False)


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
    body = await read_body(request, limits.upload_bytes, admitted)
    if not body:
        raise EmptyUpload(
            "the request has no body",
            advice="send the image as the body (curl --data-binary @FILE) or as the part `image`",
        )
    return Upload(body, content_type or None)


async def read_body(request: Request, most_bytes: int, admitted: Admitted) -> bytes:
    """Read a raw body, which may be empty.

    Raises:
        UploadTooLarge: it is over the limit; the rest of it is dropped, not kept.
        Overloaded: too many uploads at once.
    """
    body = bytearray()
    async for chunk in _bounded(request, most_bytes, admitted):
        body += chunk
    return bytes(body)


async def read_uploads(
    request: Request, admitted: Admitted, *, most_parts: int, most_bytes: int
) -> list[NamedUpload]:
    """Read the multipart parts `image` of a request, at least one, in their order.

    One that is over the limit of one image is read: it is refused where it is looked at, alone.

    Raises:
        UploadTooLarge: more parts or bytes than these; the rest is dropped, not kept.
        NoImagePart, BadRequest: as they say.
        Overloaded: too many uploads at once.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise NoImagePart("the body is not multipart", advice=_SEND_SEVERAL)

    def too_many() -> UploadTooLarge | None:
        return _more_parts_than(most_parts) if parser.begun > most_parts else None

    parser = _WatchedParser(
        request.headers,
        _bounded(request, most_bytes + _ENVELOPE_BYTES, admitted, too_many),
        max_files=math.inf,
        max_fields=math.inf,
        max_part_size=_ENVELOPE_BYTES,
    )
    form = await _form(parser, most_bytes)
    try:
        if not parser.complete:
            raise BadRequest(
                "the multipart body breaks off before its last boundary",
                advice="send all of it again",
            )
        images = [_file(part, _SEND_SEVERAL) for part in form.getlist("image")]
        if not images:
            raise NoImagePart("no part is called `image`", advice=_SEND_SEVERAL)
        return [await _taken_out(image) for image in images]
    finally:
        await form.close()


async def _taken_out(image: UploadFile) -> NamedUpload:
    data = await image.read()
    await image.close()  # the form would keep a second copy until all are read
    return NamedUpload(data, image.content_type, image.filename or "")


async def _multipart(request: Request, limits: Limits, admitted: Admitted) -> Upload:
    stream = _bounded(request, limits.upload_bytes + _ENVELOPE_BYTES, admitted)
    parser = MultiPartParser(
        request.headers, stream, max_files=8, max_fields=32, max_part_size=_ENVELOPE_BYTES
    )
    form = await _form(parser, limits.upload_bytes)
    try:
        images = form.getlist("image")
        if len(images) > 1:
            raise SeveralImages(
                f"{len(images)} parts are called `image`",
                advice="send one image a request, or all of them to /v1/predict/batch",
            )
        if not images:
            raise NoImagePart("no part is called `image`", advice=_SEND_ONE)
        image = _file(images[0], _SEND_ONE)
        return Upload(await image.read(), image.content_type)
    finally:
        await form.close()


class _WatchedParser(MultiPartParser):
    """Tells how many parts have begun (a thousand empty ones are many objects in few bytes)."""

    begun = 0
    complete = False

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.begun += 1

    def on_end(self) -> None:
        super().on_end()
        self.complete = True


async def _form(parser: MultiPartParser, most_bytes: int) -> FormData:
    # Starlette spools parts over 1 MiB to a temporary file; patients do not belong there.
    parser.spool_max_size = most_bytes + _ENVELOPE_BYTES
    try:
        return await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise BadRequest("the multipart body is malformed", advice=_SEND_ONE) from error


def _file(part: UploadFile | str, advice: str) -> UploadFile:
    if not isinstance(part, UploadFile):
        raise NoImagePart("the part `image` is text, not a file", advice=advice)
    return part


async def _bounded(
    request: Request,
    most: int,
    admitted: Admitted,
    refused: Callable[[], UploadTooLarge | None] = lambda: None,
) -> AsyncGenerator[bytes, None]:
    """The body's chunks, until they are over `most` bytes or `refused` for another reason.

    Raises:
        UploadTooLarge: after the rest has been read and dropped.
    """
    declared = request.headers.get("content-length", "")
    refusal = _over(most) if declared.isdigit() and int(declared) > most else None
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        refusal = refusal or (_over(most) if received > most else None)
        if refusal is None:
            admitted.grow(len(chunk))
            yield chunk
            refusal = refused()
        elif received > _MOST_DROPPED:
            break
    if refusal is not None:
        raise refusal


def _over(most: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"the upload has more than {most} bytes",
        advice="send one radiograph at a time, compressed without loss if need be",
        limit_bytes=most,
    )


def _more_parts_than(most: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"the upload has more than {most} parts",
        advice="send the images in several requests",
        limit_parts=most,
    )
