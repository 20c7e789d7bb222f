"""The layout of a JPEG file, read marker by marker without decoding anything (ITU-T T.81)."""

from __future__ import annotations

from dataclasses import dataclass

from cxrserve.errors import UnreadableImage, UnsupportedUpload

_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODABLE = {0xC0, 0xC1, 0xC2}
_MOST_SCANS = 64


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """Size and structure of one JPEG image.

    Attributes:
        width, height: declared, in pixels, before any EXIF orientation.
        components: 1 grey, 3 colour, 4 CMYK.
        end: offset just behind the end-of-image marker.
        many_pictures: the file says it is a Multi-Picture file (CIPA DC-007).
        phantom: a comment of ours says that this is a phantom.
    """

    width: int
    height: int
    components: int
    end: int
    many_pictures: bool
    phantom: bool


def read_layout(data: bytes) -> JpegLayout:
    """Walk the markers.

    Raises:
        UnreadableImage: `truncated` or `corrupt`.
        UnsupportedUpload: a coding process that is not read here, or an absurd number of scans.
    """
    position, frame, many_pictures, phantom = 2, None, False, False
    while True:
        marker, body, position = _next_segment(data, position)
        if marker in _FRAMES:
            frame = _frame(marker, body)
        elif marker == 0xE2 and body.startswith(b"MPF\x00"):
            many_pictures = True
        elif marker == 0xFE and body.rstrip(b"\x00") == b"cxrserve=phantom":
            phantom = True
        elif marker == 0xDA:
            break
        elif marker == 0xD9:
            raise UnreadableImage("the JPEG ends before its image data", reason="truncated")
    if frame is None:
        raise UnreadableImage("the JPEG has a scan without a frame header", reason="corrupt")
    end = data.find(b"\xff\xd9", position)
    if end < 0:
        raise UnreadableImage(
            "the JPEG has no end: the file was cut off",
            reason="truncated",
            advice="send the file again",
        )
    if data.count(b"\xff\xda", 0, end) > _MOST_SCANS:
        raise UnsupportedUpload(f"the JPEG has more than {_MOST_SCANS} scans")
    width, height, components = frame
    return JpegLayout(width, height, components, end + 2, many_pictures, phantom)


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


def _frame(marker: int, body: bytes) -> tuple[int, int, int]:
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
    return width, height, components
