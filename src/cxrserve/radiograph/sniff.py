"""What a file is, by its content: the name and the Content-Type header only get compared."""

from __future__ import annotations

from cxrserve.errors import EmptyUpload, UnsupportedUpload
from cxrserve.radiograph.radiograph import ImageFormat

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"

_PROGRAMS_AND_DOCUMENTS = {
    b"MZ": "a Windows program",
    b"\x7fELF": "a Linux program",
    b"\xca\xfe\xba\xbe": "a macOS program or Java class",
    b"\xcf\xfa\xed\xfe": "a macOS program",
    b"#!": "a script",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"RIFF": "a RIFF file (WebP, AVI)",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"\x00\x00\x00\x0cjP  ": "a bare JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a bare JPEG 2000 codestream",
    b"<!DOC": "an HTML page",
    b"<html": "an HTML page",
    b"<HTML": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML document",
    b"<?php": "a PHP script",
    b"<script": "a script",
    b"{": "a JSON or text document",
}
# Long enough not to occur by chance in what cameras append.
_HIDDEN = (b"PK\x03\x04", b"PK\x05\x06", b"%PDF", b"\x7fELF", b"<script", b"<html", b"<?php")
_TIFF = (b"II*\x00", b"MM\x00*")


def sniff(data: bytes) -> ImageFormat:
    """Name the kind of file.

    Raises:
        EmptyUpload: there are no bytes.
        UnsupportedUpload: it is not a JPEG, a PNG or a DICOM file, or a DICOM file whose preamble
            makes it another kind of file as well (CVE-2019-11687).
    """
    if not data:
        raise EmptyUpload("the upload is empty", advice="send one JPEG, PNG or DICOM file")
    if data[128:132] == b"DICM":
        _check_preamble(data[:128])
        return ImageFormat.DICOM
    if data.startswith(JPEG_START):
        return ImageFormat.JPEG
    if data.startswith(PNG_SIGNATURE):
        return ImageFormat.PNG
    if _starts_like_a_dataset(data):
        return ImageFormat.DICOM
    raise UnsupportedUpload(
        f"the upload is {foreign_kind(data) or 'no image that is read here'}",
        advice="send a JPEG, a PNG or a DICOM file (CR, DX or SC)",
        supported=[kind.value for kind in ImageFormat],
    )


def foreign_kind(data: bytes) -> str | None:
    """The program, archive or document that these bytes begin as, if any."""
    head = data[:64].lstrip()
    return next(
        (kind for magic, kind in _PROGRAMS_AND_DOCUMENTS.items() if head.startswith(magic)), None
    )


def hidden_kind(trailer: bytes) -> str | None:
    """The program, archive or document inside what follows an image's end, if any."""
    kind = foreign_kind(trailer.lstrip(b"\x00"))
    if kind is not None:
        return kind
    return next((_PROGRAMS_AND_DOCUMENTS[magic] for magic in _HIDDEN if magic in trailer), None)


def _check_preamble(preamble: bytes) -> None:
    # PS3.10 section 7.1 allows any preamble; TIFF is the one use the standard names.
    kind = foreign_kind(preamble)
    if preamble.startswith((JPEG_START, PNG_SIGNATURE)):
        kind = "another image"
    if kind is not None and not preamble.startswith(_TIFF):
        raise UnsupportedUpload(
            f"the DICOM file's preamble makes it {kind} as well",
            advice="rewrite the file with an empty preamble",
        )


def _starts_like_a_dataset(data: bytes) -> bool:
    # Some archives drop preamble and prefix: the first element is then in group 2 or 8.
    if len(data) < 64 or data[:2] not in (b"\x02\x00", b"\x08\x00") or data[3] != 0:
        return False
    explicit = data[4:6] in (b"UL", b"UI", b"CS", b"SH", b"LO", b"DA", b"TM", b"OB", b"AE")
    return explicit or int.from_bytes(data[4:8], "little") <= 64
