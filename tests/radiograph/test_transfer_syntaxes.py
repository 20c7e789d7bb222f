"""One image, every coding a hospital sends."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate

from tests.radiograph.dicom_files import dicom, encoded, ramp, read, transcoded

_WINDOW: dict[str, Any] = {"WindowCenter": 2000, "WindowWidth": 3500}


def with_frame(dataset: FileDataset, frame: bytes, syntax: str) -> bytes:
    """The same header around an encapsulated frame."""
    copy = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    copy.PixelData = encapsulate([frame])
    copy["PixelData"].VR = "OB"
    copy["PixelData"].is_undefined_length = True
    copy.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return encoded(copy)


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_uncompressed_codings_give_identical_pixels(syntax: uid.UID, bits: int) -> None:
    dataset, other = (dicom(ramp(bits), bits=bits) for _ in range(2))
    other.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian and bits > 8:
        other.PixelData = np.frombuffer(other.PixelData, "<u2").astype(">u2").tobytes()
    other["PixelData"].VR = "OB" if bits == 8 else "OW"
    assert read(other).sha256 == read(dataset).sha256


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("syntax", "plugin"),
    [
        (uid.RLELossless, "pylibjpeg"),
        (uid.JPEGLSLossless, "pyjpegls"),
        (uid.JPEG2000Lossless, "pylibjpeg"),
    ],
)
def test_a_lossless_coding_gives_identical_pixels(
    syntax: uid.UID, plugin: str, bits: int, signed: bool
) -> None:
    values = ramp(bits).astype(np.int32) - (1 << (bits - 1)) * signed
    dataset = dicom(values, bits=bits, signed=signed, WindowCenter=30, WindowWidth=1 << bits)
    assert read(transcoded(dataset, syntax, plugin)).sha256 == read(dataset).sha256


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("number", [201, 202])
def test_htj2k_gives_identical_pixels(bits: int, number: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = ramp(bits).astype(np.uint8 if bits == 8 else np.uint16)
    dataset = dicom(values, bits=bits)
    frame = imagecodecs.htj2k_encode(values, reversible=True)
    coded = with_frame(dataset, frame, f"1.2.840.10008.1.2.4.{number}")
    assert read(coded).sha256 == read(dataset).sha256


def test_lossy_htj2k_is_close() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    dataset = dicom(ramp(16), bits=16)
    frame = imagecodecs.htj2k_encode(ramp(16), reversible=False)
    coded = read(with_frame(dataset, frame, "1.2.840.10008.1.2.4.203"))
    assert _difference(coded.pixels, read(dataset).pixels) < 3


def test_lossy_jpeg_2000_is_close() -> None:
    dataset = dicom(ramp(12), **_WINDOW)
    copy = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    copy.compress(uid.JPEG2000, encoding_plugin="pylibjpeg", j2k_cr=[10])
    assert _difference(read(encoded(copy)).pixels, read(dataset).pixels) < 2


def test_near_lossless_jpeg_ls_is_close() -> None:
    dataset = dicom(ramp(12), **_WINDOW)
    copy = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    copy.compress(uid.JPEGLSNearLossless, encoding_plugin="pyjpegls", jls_error=5)
    assert _difference(read(encoded(copy)).pixels, read(dataset).pixels) < 1


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_baseline_and_extended_are_close(bits: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = ramp(bits).astype(np.uint8 if bits == 8 else np.uint16)
    dataset = dicom(values, bits=bits)
    frame = imagecodecs.jpeg_encode(values, level=95, bitspersample=bits)
    for number in (50, 51) if bits == 8 else (51,):
        coded = read(with_frame(dataset, frame, f"1.2.840.10008.1.2.4.{number}"))
        assert _difference(coded.pixels, read(dataset).pixels) < 2


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("number", [57, 70])
def test_lossless_jpeg_gives_identical_pixels(bits: int, number: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = ramp(bits).astype(np.uint8 if bits == 8 else np.uint16)
    dataset = dicom(values, bits=bits)
    frame = imagecodecs.ljpeg_encode(values, bitspersample=bits)
    coded = with_frame(dataset, frame, f"1.2.840.10008.1.2.4.{number}")
    assert read(coded).sha256 == read(dataset).sha256


@pytest.mark.data
def test_the_two_real_codings_of_one_film_are_one_image(data_dir: Path) -> None:
    one, other = (
        read((data_dir / "dicom" / name).read_bytes()) for name in ("RG1_UNCR.dcm", "RG1_J2KR.dcm")
    )
    assert np.array_equal(one.pixels, other.pixels)
    assert one.sha256 == other.sha256


def test_rle_of_a_whole_detector_decodes_in_under_a_second() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (2000, 2000)).astype(np.uint16)
    data = encoded(transcoded(dicom(values), uid.RLELossless, "pylibjpeg"))
    started = time.perf_counter()
    read(data)
    assert time.perf_counter() - started < 1


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())
