"""Uploads that must be refused: what goes wrong on the way, and what hostile people send."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset

from cxrserve.radiograph.phantom import draw_phantom, write_phantom

MIB = 1 << 20


@functools.cache
def phantom_bytes(suffix: str, folder: Path) -> bytes:
    """A phantom file's bytes."""
    path = folder / f"phantom{suffix}"
    write_phantom(path, side=512)
    return path.read_bytes()


def truncated(data: bytes, percent: int) -> bytes:
    return data[: len(data) * percent // 100]


def png_declaring(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    )


def jpeg_declaring(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def zip_archive() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("xray.txt", "not an image")
    return archive.getvalue()


def changed_dicom(data: bytes, change: Callable[[FileDataset], None]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def deflated_dicom_bomb(data: bytes) -> bytes:
    def deflate(dataset: FileDataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.PixelData = bytes(400 * MIB)

    return changed_dicom(data, deflate)


def animation() -> bytes:
    out = io.BytesIO()
    frames = [Image.fromarray(np.full((256, 256), value, np.uint8)) for value in (0, 90, 200)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


def _several_frames(dataset: FileDataset) -> None:
    dataset.NumberOfFrames = 3
    dataset.PixelData = dataset.PixelData * 3


def _report(dataset: FileDataset) -> None:
    dataset.SOPClassUID = pydicom.uid.ComprehensiveSRStorage
    dataset.Modality = "SR"
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)


def _without_pixels(dataset: FileDataset) -> None:
    del dataset.PixelData


def _huge(dataset: FileDataset) -> None:
    dataset.Rows = dataset.Columns = 65535


def _empty_size(dataset: FileDataset) -> None:
    dataset.Rows = 0


def _film_library(dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([b"\x00\x00\x01\xb3" + bytes(64)])


def all_bad_uploads(folder: Path) -> dict[str, tuple[bytes, str, set[int]]]:
    """Name to (body, content type, statuses that are right)."""
    jpeg, png, dicom = (phantom_bytes(suffix, folder) for suffix in (".jpg", ".png", ".dcm"))
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    bad: dict[str, tuple[bytes, str, set[int]]] = {
        "empty": (b"", "image/png", {400}),
        "one byte": (b"\xff", "image/jpeg", {415}),
        "100 MB of zeros": (bytes(100 * MIB), "image/png", {413}),
        "60 MB of zeros": (bytes(60 * MIB), "image/png", {415}),
        "text": (b"Dear colleague, please find the X-ray enclosed.", "text/plain", {415}),
        "JSON": (b'{"image": "base64"}', "application/json", {415}),
        "HTML": (b"<!DOCTYPE html><html><img src=x></html>", "text/html", {415}),
        "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "application/pdf", {415}),
        "zip": (zip_archive(), "application/zip", {415}),
        "ELF": (b"\x7fELF\x02\x01\x01" + bytes(200), "application/octet-stream", {415}),
        "GIF": (b"GIF89a" + bytes(100), "image/gif", {415}),
        "BMP": (_saved(noise, "BMP"), "image/bmp", {415}),
        "TIFF": (_saved(noise, "TIFF"), "image/tiff", {415}),
        "WebP": (b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(100), "image/webp", {415}),
        "bare JPEG 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100), "image/jp2", {415}),
        "random bytes": (noise.tobytes(), "image/jpeg", {415}),
        "PNG of 65535 x 65535": (png_declaring(65535, 65535), "image/png", {413}),
        "PNG deflate bomb": (
            png_declaring(9000, 9000, bytes(81 * 10**6)),
            "image/png",
            {413},
        ),
        "PNG with too little data": (png_declaring(512, 512, b"\0" * 99), "image/png", {422}),
        "PNG of no size": (png_declaring(0, 512), "image/png", {422}),
        "animated PNG": (animation(), "image/png", {422}),
        "PNG signature alone": (png[:8], "image/png", {422}),
        "JPEG of 65535 x 65535": (jpeg_declaring(jpeg, 65535, 65535), "image/jpeg", {413}),
        "JPEG of no size": (jpeg_declaring(jpeg, 0, 0), "image/jpeg", {422}),
        "two JPEGs in one": (jpeg + jpeg, "image/jpeg", {400}),
        "two PNGs in one": (png + png, "image/png", {400}),
        "JPEG and zip at once": (jpeg + zip_archive(), "image/jpeg", {415}),
        "PNG and zip at once": (png + zip_archive(), "image/png", {415}),
        "JPEG and HTML at once": (jpeg + b"<script>alert(1)</script>", "image/jpeg", {415}),
        "DICOM without pixels": (changed_dicom(dicom, _without_pixels), _DICOM, {422}),
        "structured report": (changed_dicom(dicom, _report), _DICOM, {422}),
        "several frames": (changed_dicom(dicom, _several_frames), _DICOM, {422}),
        "DICOM of 65535 x 65535": (changed_dicom(dicom, _huge), _DICOM, {413}),
        "DICOM of no rows": (changed_dicom(dicom, _empty_size), _DICOM, {422}),
        "MPEG inside DICOM": (changed_dicom(dicom, _film_library), _DICOM, {415}),
        "DICOM deflate bomb": (deflated_dicom_bomb(dicom), _DICOM, {413}),
        "DICOM with a program as preamble": (b"MZ" + dicom[2:], _DICOM, {415}),
        "DICOM with a zip as preamble": (b"PK\x03\x04" + dicom[4:], _DICOM, {415}),
        "DICOM prefix alone": (bytes(128) + b"DICM", _DICOM, {422}),
        "too small": (_saved(draw_phantom(side=128)[:100, :100], "PNG"), "image/png", {422}),
        "all black": (_saved(np.zeros((512, 512), np.uint8), "PNG"), "image/png", {422}),
        "all white": (_saved(np.full((512, 512), 255, np.uint8), "JPEG"), "image/jpeg", {422}),
        "colour noise": (_saved(noise, "PNG"), "image/png", {422}),
    }
    for percent in range(10, 100, 10):
        bad[f"JPEG cut at {percent} %"] = (truncated(jpeg, percent), "image/jpeg", {422})
        bad[f"PNG cut at {percent} %"] = (truncated(png, percent), "image/png", {422})
        bad[f"DICOM cut at {percent} %"] = (truncated(dicom, percent), _DICOM, {422})
    return bad


_DICOM = "application/dicom"


def _saved(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()
