"""DICOM bytes become a radiograph: read the header with bounds, decode one frame, render it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config as pydicom_config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_sequence
from pydicom.multival import MultiValue
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrserve.errors import UnreadableImage, UnsupportedUpload
from cxrserve.radiograph.dicom_codec import decode_frame, is_encapsulated
from cxrserve.radiograph.dicom_facts import facts_of
from cxrserve.radiograph.dicom_render import render, row_stretch
from cxrserve.radiograph.limits import BoundedReads, Limits
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph

# What pydicom is seen to raise on damaged files.
DAMAGED = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    KeyError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
_PIXEL_DATA = 0x7FE00010
_OPENED_TAGS = {0x00540220, 0x00283000, 0x00283010}  # view code, modality LUT, VOI LUT
_DEFLATED_PIECE, _INFLATED_PIECE = 64 << 10, 4 << 20
_MOST_VALUE_BYTES = 256 << 10  # the longest that is used is a palette of 65,536 words


def read_dicom(data: bytes, limits: Limits) -> Radiograph:
    """Read one CR, DX or SC image (any other kind with one greyscale or colour frame as well).

    Args:
        data: a DICOM file, with or without preamble.
        limits: what it may cost.

    Returns:
        The radiograph: modality and VOI look-up applied, MONOCHROME1 inverted once, padding black,
        pixels square.

    Raises:
        UnreadableImage: `truncated`, `corrupt`, `no_pixels` or `multi_frame`.
        UnsupportedUpload: a transfer syntax that is not read here.
        UploadTooLarge: a limit was passed.
    """
    with decoded(data, limits) as (dataset, raw, frames):
        rendered = render(dataset, raw)
        facts = facts_of(dataset, rendered.saturation)
    rendered.pixels.flags.writeable = False
    return Radiograph(
        pixels=rendered.pixels,
        format=ImageFormat.DICOM,
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        facts=facts,
        remarks=(*rendered.remarks, *frames),
    )


@contextmanager
def decoded(
    data: bytes, limits: Limits
) -> Iterator[tuple[Dataset, NDArray[np.integer], tuple[str, ...]]]:
    """Parse and decode one file; what is done with it may also fail on damage.

    Yields:
        The header, its stored values, and remarks on it.

    Raises:
        CxrError: as for `read_dicom`.
    """
    # A file that breaks a rule of its value representation is a hospital's daily bread.
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    try:
        dataset = _parse(data, limits)
        remarks = _check_image(dataset, limits)
        yield dataset, decode_frame(dataset, limits), remarks
    except DAMAGED as error:
        raise UnreadableImage(
            "the DICOM file is damaged and cannot be decoded",
            reason="corrupt",
            advice="send the file again from where it is stored",
        ) from error


def _parse(data: bytes, limits: Limits) -> Dataset:
    stream: io.BytesIO = BoundedReads(data, limits)
    if data[128:132] == b"DICM":
        stream.seek(132)
    meta = FileMetaDataset()
    if data[stream.tell() : stream.tell() + 2] == b"\x02\x00":
        meta.update(read_dataset(stream, False, True, stop_when=_is_behind(0x0002FFFF)))
        _bound_values(meta, limits)
    syntax = UID(meta.get("TransferSyntaxUID", ""))
    if not syntax:
        syntax = _guessed_syntax(data, stream.tell())
        meta.TransferSyntaxUID = syntax
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _inflated(data[stream.tell() :], limits)
    dataset = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=_is_behind(_PIXEL_DATA),
    )
    _bound_values(dataset, limits)
    dataset.file_meta = meta
    return dataset


def _is_behind(last: int) -> Callable[[BaseTag, str | None, int], bool]:
    return lambda tag, _vr, _length: tag > last


def _bound_values(dataset: Dataset, limits: Limits) -> None:
    """Drop values too long to be meant; pydicom converts what is left when it is asked for."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if tag == _PIXEL_DATA or not isinstance(element, RawDataElement) or not element.value:
            continue
        if tag in _OPENED_TAGS:
            # Once under the bound and for nothing; afterwards pydicom opens it without one.
            implicit = element.is_implicit_VR or element.VR == "UN"
            items = BoundedReads(element.value, limits)
            read_sequence(items, implicit, element.is_little_endian, len(element.value), "ascii")
        elif len(element.value) > _MOST_VALUE_BYTES:
            del dataset[tag]


def _guessed_syntax(data: bytes, start: int) -> UID:
    representation = data[start + 4 : start + 6]
    explicit = representation.isalpha() and representation.isupper()
    return ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian


def _inflated(compressed: bytes, limits: Limits) -> io.BytesIO:
    """Inflate piece by piece: a bomb shows itself long before it reaches the limit."""
    inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    for start in range(0, len(compressed), _DEFLATED_PIECE):
        piece = compressed[start : start + _DEFLATED_PIECE]
        while piece and not inflater.eof:
            inflated += inflater.decompress(piece, _INFLATED_PIECE)
            piece = inflater.unconsumed_tail
            consumed = min(start + _DEFLATED_PIECE, len(compressed)) - len(piece)
            limits.check_inflation(len(inflated), consumed)
    inflated += inflater.decompress(b"", _INFLATED_PIECE)
    if not inflater.eof:
        raise UnreadableImage("the deflated DICOM file was cut off", reason="truncated")
    return BoundedReads(bytes(inflated), limits)


def _check_image(dataset: Dataset, limits: Limits) -> tuple[str, ...]:
    if not dataset.get("PixelData"):
        _explain_missing_pixels(dataset)
    rows, columns = _positive(dataset, "Rows"), _positive(dataset, "Columns")
    stretch = row_stretch(dataset)
    limits.check_pixels(round(columns * max(1 / stretch, 1)), round(rows * max(stretch, 1)))
    frames = _integer(dataset.get("NumberOfFrames"), 1)
    if frames > 1:
        raise UnreadableImage(
            f"the DICOM file holds {frames} frames, one is read",
            reason="multi_frame",
            advice="send each frame as an image of its own",
            frames=frames,
        )
    allocated, samples = _positive(dataset, "BitsAllocated"), _positive(dataset, "SamplesPerPixel")
    stored = _integer(dataset.get("BitsStored"), allocated)
    if allocated not in (8, 16) or samples not in (1, 3) or not 1 <= stored <= allocated:
        raise UnsupportedUpload(
            f"pixels of {samples} samples with {stored} of {allocated} bits are not read here",
            advice="send CR, DX or SC images of 8 to 16 bits",
        )
    limits.check_inflation(rows * columns * samples * allocated // 8, len(dataset.PixelData))
    expected = get_expected_length(dataset)
    if not is_encapsulated(dataset) and len(dataset.PixelData) < expected:
        raise UnreadableImage(
            f"the pixels are cut off: {len(dataset.PixelData)} of {expected} bytes",
            reason="truncated",
            advice="send the file again",
        )
    processing = str(dataset.get("PresentationIntentType", "")).upper() == "FOR PROCESSING"
    return ("for_processing",) if processing else ()


def _explain_missing_pixels(dataset: Dataset) -> None:
    # A file cut off in its header also has no pixels; a complete one says its SOP class.
    modality = str(dataset.get("Modality", ""))
    if "Rows" in dataset or not dataset.get("SOPClassUID"):
        raise UnreadableImage(
            "the DICOM file ends before its pixels", reason="truncated", advice="send it again"
        )
    kind = "a structured report" if modality == "SR" else "no image"
    raise UnreadableImage(
        f"the DICOM file is {kind}: it has no pixels"
        if modality == "SR"
        else "the DICOM file holds no pixels",
        reason="no_pixels",
        advice="send the image object of the study",
    )


def _positive(dataset: Dataset, keyword: str) -> int:
    value = _integer(dataset.get(keyword), 0)
    if value <= 0:
        raise UnreadableImage(f"the DICOM file gives no {keyword}", reason="corrupt")
    return value


def _integer(value: Any, default: int) -> int:
    if value is None or value == "":
        return default
    return int(value[0] if isinstance(value, MultiValue) else value)
