"""The layout of a JPEG file, read marker by marker without decoding anything (ITU-T T.81)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxrserve.errors import UnreadableImage, UnsupportedUpload

_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODABLE = {0xC0, 0xC1, 0xC2}
_MOST_SCANS = 64
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """Size and structure of one JPEG image.

    Attributes:
        width, height: declared, in pixels, before any EXIF orientation.
        components: 1 grey, 3 colour, 4 CMYK.
        end: offset just behind the end-of-image marker.
        many_pictures: the file says it is a Multi-Picture file (CIPA DC-007).
        phantom: a comment of ours says that this is a phantom.
        coefficient_bytes: what a decoder must hold at full size, whatever scale it decodes to,
            because several scans refine one image; 0 where one scan holds it all.
    """

    width: int
    height: int
    components: int
    end: int
    many_pictures: bool
    phantom: bool
    coefficient_bytes: int


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    components: int
    progressive: bool
    coefficient_bytes: int


def read_layout(data: bytes) -> JpegLayout:
    """Walk the markers.

    Raises:
        UnreadableImage: `truncated` or `corrupt`.
        UnsupportedUpload: a coding process that is not read here, or an absurd number of scans.
    """
    position, frame, scans, several = 2, None, 0, False
    notes: set[str] = set()
    while True:
        marker, body, position = _next_segment(data, position)
        notes.add(_note(marker, body))
        if marker in _FRAMES:
            frame = _frame(marker, body)
        elif marker == 0xDA:
            if frame is None:
                raise UnreadableImage("the JPEG has a scan without a frame", reason="corrupt")
            scans += 1
            several = several or frame.progressive or body[:1] != bytes([frame.components])
            position = _behind_scan(data, position)
        elif marker == 0xD8:
            raise UnreadableImage("the JPEG was cut off and another begins", reason="truncated")
        elif marker == 0xD9:
            break
        if scans > _MOST_SCANS:
            raise UnsupportedUpload(f"the JPEG has more than {_MOST_SCANS} scans")
    if frame is None or not scans:
        raise UnreadableImage("the JPEG ends before its image data", reason="truncated")
    return JpegLayout(
        width=frame.width,
        height=frame.height,
        components=frame.components,
        end=position,
        many_pictures="pictures" in notes,
        phantom="phantom" in notes,
        coefficient_bytes=frame.coefficient_bytes if several else 0,
    )


def _note(marker: int, body: bytes) -> str:
    if marker == 0xE2 and body.startswith(b"MPF\x00"):
        return "pictures"
    return "phantom" if marker == 0xFE and body.rstrip(b"\x00") == b"cxrserve=phantom" else ""


def _behind_scan(data: bytes, position: int) -> int:
    """Offset of the first marker behind entropy-coded data; restarts and stuffing are inside."""
    found = _MARKER.search(data, position)
    if found is None:
        raise UnreadableImage(
            "the JPEG has no end: the file was cut off",
            reason="truncated",
            advice="send the file again",
        )
    return found.start()


def _next_segment(data: bytes, position: int) -> tuple[int, bytes, int]:
    while data[position : position + 2] == b"\xff\xff":
        position += 1
    if position + 2 > len(data):
        raise UnreadableImage("the JPEG was cut off in its headers", reason="truncated")
    if data[position] != 0xFF:
        raise UnreadableImage("the JPEG's headers are damaged", reason="corrupt")
    marker = data[position + 1]
    position += 2
    if marker in _WITHOUT_LENGTH or marker == 0xD9:
        return marker, b"", position
    length = int.from_bytes(data[position : position + 2], "big")
    if length < 2 or position + length > len(data):
        raise UnreadableImage("the JPEG was cut off in its headers", reason="truncated")
    return marker, data[position + 2 : position + length], position + length


def _frame(marker: int, body: bytes) -> _Frame:
    if marker not in _DECODABLE:
        raise UnsupportedUpload(
            f"JPEG coding process SOF{marker - 0xC0} is not read here",
            advice="send a baseline or progressive JPEG, or the DICOM file",
        )
    if len(body) < 6:
        raise UnreadableImage("the JPEG's frame header is damaged", reason="corrupt")
    precision, components = body[0], body[5]
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if precision != 8:
        raise UnsupportedUpload(
            f"a JPEG of {precision} bits a sample is not read here",
            advice="send the DICOM file, or a PNG of 16 bits",
        )
    if not width or not height or components not in (1, 3, 4):
        raise UnreadableImage("the JPEG's frame header is damaged", reason="corrupt")
    factors = body[7::3][:components]
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    coefficients = width * height * sum(areas) // max(*areas, 1)
    return _Frame(width, height, components, marker == 0xC2, 2 * coefficients)
