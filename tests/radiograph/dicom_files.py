"""DICOM files made for tests: any quirk, no patient."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.radiograph.reader import read_radiograph


def ramp(bits: int = 12, *, rows: int = 96, columns: int = 128) -> NDArray[np.uint16]:
    """Every part of the range, with edges: uint16 `[rows, columns]`."""
    top = (1 << bits) - 1
    y, x = np.mgrid[0:rows, 0:columns]
    values = (x / (columns - 1) * 0.7 + y / (rows - 1) * 0.3) * top
    values[rows // 3 : rows // 2, columns // 4 : columns // 2] = top
    values[:4, :4] = 0
    whole: NDArray[np.uint16] = values.astype(np.uint16)
    return whole


def dicom(
    values: NDArray[Any], *, bits: int = 12, signed: bool = False, **elements: Any
) -> FileDataset:
    """A DX image holding `values`; `elements` are set on it, by keyword."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = uid.generate_uid()
    dataset.PatientName, dataset.PatientID = "Test^Drawn", "0"
    dataset.Modality = "DX"
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    stored = values.astype(f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}")
    dataset.PixelData = stored.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def lut(table: list[int], *, first: int = 0, bits: int = 16, **elements: Any) -> Dataset:
    """An item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(table) % 65536, first, bits])
    item.add_new(0x00283006, "US", table)
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def encoded(dataset: FileDataset) -> bytes:
    """The file's bytes."""
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def read(dataset: FileDataset | bytes, limits: Limits | None = None) -> Radiograph:
    """Read it here, in this process."""
    data = dataset if isinstance(dataset, bytes) else encoded(dataset)
    return read_radiograph(data, limits=limits)


def transcoded(dataset: FileDataset, syntax: uid.UID, plugin: str) -> FileDataset:
    """A copy, compressed by a codec of pydicom."""
    copy = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    copy.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return copy
