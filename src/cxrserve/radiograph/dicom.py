"""DICOM bytes become a radiograph: read the header with bounds, decode one frame, render it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrserve.errors import UnreadableImage, UnsupportedUpload, UploadTooLarge
from cxrserve.radiograph.dicom_codec import decode_frame
from cxrserve.radiograph.dicom_facts import facts_of
from cxrserve.radiograph.dicom_render import render
from cxrserve.radiograph.limits import Limits
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
_MOST_META_ELEMENTS = 64


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
    # A file that breaks a rule of its value representation is a hospital's daily bread.
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    try:
        dataset = _parse(data, limits)
        frames = _check_image(dataset, limits)
        raw = decode_frame(dataset, limits)
        rendered = render(dataset, raw)
        facts = facts_of(dataset, rendered.saturation)
    except DAMAGED as error:
        raise UnreadableImage(
            "the DICOM file is damaged and cannot be decoded",
            reason="corrupt",
            advice="send the file again from where it is stored",
        ) from error
    rendered.pixels.flags.writeable = False
    return Radiograph(
        pixels=rendered.pixels,
        format=ImageFormat.DICOM,
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        facts=facts,
        remarks=(*rendered.remarks, *frames),
    )


def _parse(data: bytes, limits: Limits) -> Dataset:
    stream = io.BytesIO(data)
    if data[128:132] == b"DICM":
        stream.seek(132)
    meta = FileMetaDataset()
    if data[stream.tell() : stream.tell() + 2] == b"\x02\x00":
        bounded = _Bounded(_MOST_META_ELEMENTS, last_group=2)
        meta.update(read_dataset(stream, False, True, stop_when=bounded))
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
        stop_when=_Bounded(limits.header_elements),
    )
    dataset.file_meta = meta
    return dataset


class _Bounded:
    """Stops pydicom behind a group, and refuses more elements than a real file has."""

    def __init__(self, most: int, *, last_group: int | None = None) -> None:
        self._left = most
        self._last_group = last_group

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        self._left -= 1
        if self._left < 0:
            raise UploadTooLarge("the DICOM header has too many elements")
        return self._last_group is not None and tag.group > self._last_group


def _guessed_syntax(data: bytes, start: int) -> UID:
    representation = data[start + 4 : start + 6]
    explicit = representation.isalpha() and representation.isupper()
    return ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian


def _inflated(compressed: bytes, limits: Limits) -> io.BytesIO:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(compressed, limits.decoded_bytes + 1)
    limits.check_inflation(len(inflated), len(compressed))
    if not inflater.eof and not inflater.unconsumed_tail:
        raise UnreadableImage("the deflated DICOM file was cut off", reason="truncated")
    return io.BytesIO(inflated)


def _check_image(dataset: Dataset, limits: Limits) -> tuple[str, ...]:
    if "PixelData" not in dataset:
        _explain_missing_pixels(dataset)
    rows, columns = _positive(dataset, "Rows"), _positive(dataset, "Columns")
    limits.check_pixels(columns, rows)
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
    size = rows * columns * samples * allocated // 8
    limits.check_inflation(size, len(dataset.PixelData))
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and len(dataset.PixelData) < size:
        raise UnreadableImage(
            f"the pixels are cut off: {len(dataset.PixelData)} of {size} bytes",
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
