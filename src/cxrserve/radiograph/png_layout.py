"""The layout of a PNG file, chunk by chunk without inflating anything (ISO/IEC 15948)."""

from __future__ import annotations

from dataclasses import dataclass

from cxrserve.errors import UnreadableImage
from cxrserve.radiograph.sniff import PNG_SIGNATURE

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}


@dataclass(frozen=True, slots=True)
class PngLayout:
    """Size and structure of one PNG image.

    Attributes:
        width, height: in pixels.
        depth: bits a sample; channels: samples a pixel as stored.
        image_bytes: compressed bytes of the image data.
        end: offset just behind the IEND chunk.
        phantom: a text chunk of ours says that this is a phantom.
        needed: offsets `(start, stop)` of the chunks that make the image; nothing else is decoded.
    """

    width: int
    height: int
    depth: int
    channels: int
    image_bytes: int
    end: int
    phantom: bool
    needed: tuple[tuple[int, int], ...]


def read_layout(data: bytes) -> PngLayout:
    """Walk the chunks.

    Raises:
        UnreadableImage: `truncated`, `corrupt`, or `multi_frame` for an animation.
    """
    position, image_bytes, phantom = len(PNG_SIGNATURE), 0, False
    needed: list[tuple[int, int]] = []
    headers: list[bytes] = []
    while True:
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        stop = position + 12 + length
        if len(kind) < 4 or stop > len(data):
            raise UnreadableImage(
                "the PNG was cut off", reason="truncated", advice="send the file again"
            )
        body = data[position + 8 : stop - 4] if kind in (b"IHDR", b"tEXt") else b""
        if kind == b"IHDR":
            headers.append(body)
        elif kind == b"IDAT":
            image_bytes += length
        elif kind == b"acTL":
            raise UnreadableImage("the PNG is an animation", reason="multi_frame")
        elif kind == b"tEXt" and body == b"cxrserve\x00phantom":
            phantom = True
        if kind in _NEEDED:
            needed.append((position, stop))
        position = stop
        if kind == b"IEND":
            break
    width, height, depth, channels = _header(headers)
    if not image_bytes:
        raise UnreadableImage("the PNG holds no image data", reason="no_pixels")
    needed.append((position - 12, position))
    return PngLayout(width, height, depth, channels, image_bytes, position, phantom, tuple(needed))


def _header(headers: list[bytes]) -> tuple[int, int, int, int]:
    # A decoder might believe another header than the one that the limits were compared with.
    body = headers[0] if len(headers) == 1 else b""
    if len(body) != 13 or body[9] not in _CHANNELS:
        raise UnreadableImage("the PNG's header is damaged", reason="corrupt")
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    if not width or not height:
        raise UnreadableImage("the PNG's header is damaged", reason="corrupt")
    return width, height, body[8], _CHANNELS[body[9]]
