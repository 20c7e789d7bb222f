"""One frame of DICOM pixel data, decoded to the values that are stored."""

from __future__ import annotations

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from cxrserve.errors import UnreadableImage, UnsupportedUpload
from cxrserve.radiograph.dicom_facts import is_uid
from cxrserve.radiograph.limits import BoundedReads, Limits

_UNCOMPRESSED = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
}
_RLE = "1.2.840.10008.1.2.5"
# One codec a coding, whatever else is installed: the same file gives the same pixels everywhere.
# GDCM decodes the processes that nobody else does; it ends the process on some damaged files.
_CODECS = {
    _RLE: "pylibjpeg",
    **dict.fromkeys(JPEGTransferSyntaxes, "gdcm"),
    JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)), "pylibjpeg"),
}
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def decode_frame(dataset: Dataset, limits: Limits) -> NDArray[np.integer]:
    """Decode the only frame.

    Args:
        dataset: with `file_meta.TransferSyntaxUID`, checked rows, columns, samples and bits.
        limits: what the codestream itself may declare.

    Returns:
        Integers `[rows, columns]`, or `[rows, columns, 3]` RGB for colour; no look-up applied.

    Raises:
        UnsupportedUpload: the transfer syntax has no free codec here.
        UnreadableImage: the codestream is damaged or of another size than the header says.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if is_encapsulated(dataset) and syntax not in _CODECS:
        raise UnsupportedUpload(
            f"the transfer syntax {syntax if is_uid(syntax) else 'named in it'} is not read here",
            advice="send the image uncompressed, or as JPEG, JPEG-LS, JPEG 2000, HTJ2K or RLE",
        )
    frame = b""
    if is_encapsulated(dataset):
        fragments = BoundedReads(dataset.PixelData, limits)
        frame = next(generate_frames(fragments, number_of_frames=1))
        _check_codestream(frame, dataset, limits)
    # RGB is wanted for YBR and palette; a greyscale image must keep its stored values.
    raw = dataset.SamplesPerPixel == 1
    try:
        if syntax == JPEGExtended12Bit and dataset.BitsStored > 8:
            pixels = _decode_extended_12_bit(frame, dataset)
        else:
            pixels = pixel_array(
                dataset,
                index=0,
                raw=raw,
                correct_unused_bits=False,
                decoding_plugin=_CODECS.get(syntax, ""),
            )
    except BaseException as error:
        if not isinstance(error, (RuntimeError, ValueError, MemoryError)) and not _is_panic(error):
            raise
        raise UnreadableImage(
            "the image data inside the DICOM file cannot be decoded",
            reason="corrupt",
            advice="send the file again, uncompressed if need be",
        ) from error
    return pixels


def is_encapsulated(dataset: Dataset) -> bool:
    """Whether the pixels are a codestream in fragments."""
    return dataset.file_meta.TransferSyntaxUID not in _UNCOMPRESSED


def _is_panic(error: BaseException) -> bool:
    # The RLE decoder is written in Rust; its panics are no Exception and their class has no module.
    return type(error).__name__ == "PanicException"


def _decode_extended_12_bit(frame: bytes, dataset: Dataset) -> NDArray[np.integer]:
    # pydicom's GDCM plugin declines these; GDCM decodes them once told the pixel format.
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(str(dataset.file_meta.TransferSyntaxUID))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    decoded = image.GetBuffer()
    if not decoded:
        raise ValueError("GDCM returned no pixels")
    data = decoded.encode("utf-8", "surrogateescape")
    return np.frombuffer(data, "<u2", rows * columns).reshape(rows, columns)


def _check_codestream(frame: bytes, dataset: Dataset, limits: Limits) -> None:
    """Compare the size inside the codestream with the header's, before a decoder believes it."""
    if dataset.file_meta.TransferSyntaxUID == _RLE:
        return
    declared = _declared(frame)
    if declared is None:
        raise UnreadableImage("the image data inside the DICOM file is damaged", reason="corrupt")
    limits.check_pixels(*declared[:2])
    expected = (int(dataset.Columns), int(dataset.Rows), int(dataset.SamplesPerPixel))
    if declared != expected:
        raise UnreadableImage(
            "the header says {} x {} pixels of {} samples, ".format(*expected)
            + "the image data {} x {} of {}".format(*declared),
            reason="corrupt",
        )


def _declared(frame: bytes) -> tuple[int, int, int] | None:
    """Width, height and components that a JPEG, JPEG-LS or JPEG 2000 codestream declares."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(frame) >= start + 42:
        right, bottom, left, top = (
            int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
        )
        components = int.from_bytes(frame[start + 40 : start + 42], "big")
        return right - left, bottom - top, components
    position = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = frame[position + 5 : position + 7], frame[position + 7 : position + 9]
            components = frame[position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big"), components
        filler = marker == 0xFF
        position += 1 if filler else 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return None
