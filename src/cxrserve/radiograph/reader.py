"""Bytes become a radiograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph
from cxrserve.radiograph.raster import read_jpeg, read_png
from cxrserve.radiograph.sniff import sniff

DicomReader = Callable[[bytes, Limits], Radiograph]

_SAYS_NOTHING = {"", "application/octet-stream", "application/x-www-form-urlencoded", "image/*"}
_SYNONYMS = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "application/dicom+octet-stream": "application/dicom",
}


def read_radiograph(
    data: bytes,
    *,
    content_type: str | None = None,
    limits: Limits | None = None,
    dicom_reader: DicomReader | None = None,
) -> Radiograph:
    """Decode an upload.

    Args:
        data: the whole file.
        content_type: what the sender called it; only compared with what it is.
        limits: what it may cost; the defaults of `Limits` if not given.
        dicom_reader: reads DICOM; the service hands in one that runs in a process of its own.

    Raises:
        CxrError: `EmptyUpload`, `UnsupportedUpload`, `UnreadableImage`, `UploadTooLarge` or
            `SeveralImages`, each saying what was wrong and what to do.
    """
    limits = limits or Limits()
    limits.check_upload(len(data))
    kind = sniff(data)
    if kind is ImageFormat.JPEG:
        radiograph = read_jpeg(data, limits)
    elif kind is ImageFormat.PNG:
        radiograph = read_png(data, limits)
    else:
        radiograph = (dicom_reader or _read_dicom_here)(data, limits)
    if _differs(content_type, kind):
        return replace(radiograph, remarks=(*radiograph.remarks, "content_type_mismatch"))
    return radiograph


def _differs(content_type: str | None, kind: ImageFormat) -> bool:
    said = (content_type or "").split(";")[0].strip().lower()
    return said not in _SAYS_NOTHING and _SYNONYMS.get(said, said) != kind.value


def _read_dicom_here(data: bytes, limits: Limits) -> Radiograph:
    # pydicom and its codecs cost 60 MB and 0.3 s; the serving process itself never needs them.
    from cxrserve.radiograph.dicom import read_dicom  # noqa: PLC0415

    return read_dicom(data, limits)
