"""Images as callers send them, from phantoms or from real films: DICOM, phone photographs, files.

None says that it is a phantom: the gate's network is spared a file that does, and a load test that
spares a network tests less than what hospitals send. The gate still sees through them, and warns.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

from cxrserve.radiograph.phantom import draw_phantom

Grey = NDArray[np.uint8]

# What modalities and archives send, largest images first: as it is, and compressed without loss.
SYNTAXES: tuple[tuple[uid.UID, str], ...] = (
    (uid.ExplicitVRLittleEndian, ""),
    (uid.JPEGLSLossless, "pyjpegls"),
    (uid.ImplicitVRLittleEndian, ""),
    (uid.RLELossless, "pydicom"),
    (uid.JPEG2000Lossless, "pylibjpeg"),
    (uid.DeflatedExplicitVRLittleEndian, ""),
)
_SCALES = (1.0, 0.75, 0.5)
_BITS = 12
# Width and height of a photograph: as a phone takes it, and as messengers make it smaller.
_PHOTOGRAPHS = ((3024, 4032), (1536, 2048), (1200, 1600), (960, 1280))
# EXIF orientation (CIPA DC-008, 4.6.5) and the turn, anticlockwise, that makes the stored pixels.
_TURNS = ((1, None), (6, Image.Transpose.ROTATE_90), (3, Image.Transpose.ROTATE_180),
          (8, Image.Transpose.ROTATE_270))  # fmt: skip
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A file to be sent.

    Attributes:
        kind: dicom, phone or plain, see `films.Film`.
        same_pixels: those with the same number hold the same pixels, in different codings; None:
            not known.
    """

    name: str
    kind: str
    content_type: str
    about: str
    data: bytes
    same_pixels: int | None


def drawn(*, side: int, phantoms: int) -> Iterator[Drawn]:
    """Files of phantoms: of each DICOM in two transfer syntaxes, a photograph, a PNG and a JPEG.

    Args:
        side: of the largest DICOM image, in pixels.
        phantoms: how many chests.
    """
    for seed in range(phantoms):
        chest = draw_phantom(side=round(side * _SCALES[seed % len(_SCALES)]), seed=seed)
        for turn in range(2):
            syntax, plugin = SYNTAXES[(2 * seed + turn) % len(SYNTAXES)]
            yield Drawn(
                name=f"film-{seed}-{turn}.dcm",
                kind="dicom",
                content_type="application/dicom",
                about=f"DX PA, {chest.shape[1]}×{chest.shape[0]}, {_BITS} bits, {syntax.name}",
                data=dicom(chest, syntax=syntax, plugin=plugin, seed=seed),
                same_pixels=seed,
            )
        yield photographed(chest, seed, name=f"photograph-{seed}.jpg", most=side * 2)
        yield plain(chest, seed)


def plain(chest: Grey, seed: int) -> Drawn:
    """A PNG or a JPEG, as archives export them."""
    image = Image.fromarray(chest)
    image.thumbnail((1024, 1024))
    out = io.BytesIO()
    lossless = seed % 2 == 0
    if lossless:
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=92)
    suffix, content_type = ("png", "image/png") if lossless else ("jpg", "image/jpeg")
    return Drawn(
        name=f"export-{seed}.{suffix}",
        kind="plain",
        content_type=content_type,
        about=f"{suffix.upper()}, {image.width}×{image.height}",
        data=out.getvalue(),
        same_pixels=None,
    )


def photographed(chest: Grey, seed: int, *, name: str, most: int) -> Drawn:
    """A phone's photograph of a film on a light box, stored as the phone was held.

    Args:
        most: longest side, in pixels, of the photograph.
    """
    rng = np.random.default_rng([seed, 1])
    width, height = _PHOTOGRAPHS[seed % len(_PHOTOGRAPHS)]
    shrink = min(1.0, most / height)
    width, height = round(width * shrink), round(height * shrink)
    shown = _on_a_light_box(chest, width, height, rng)
    orientation, turn = _TURNS[seed % len(_TURNS)]
    stored = shown if turn is None else shown.transpose(turn)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    out = io.BytesIO()
    stored.save(out, "JPEG", quality=int(rng.integers(70, 92)), exif=exif)
    return Drawn(
        name=name,
        kind="phone",
        content_type="image/jpeg",
        about=f"photograph, {width}×{height}, EXIF orientation {orientation}",
        data=out.getvalue(),
        same_pixels=None,
    )


def dicom(chest: Grey, *, syntax: uid.UID, plugin: str, seed: int) -> bytes:
    """A digital X-ray image of 12 bits; of one seed, the same pixels in every syntax."""
    rng = np.random.default_rng([seed, 2])
    values = chest.astype(np.uint16) * 16 + rng.integers(0, 16, chest.shape, np.uint16)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientAge = "LOAD^TEST", "LOAD", "054Y"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.ImagerPixelSpacing = [0.14, 0.14]
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelData = values.astype("<u2").tobytes()
    if plugin:
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def _on_a_light_box(chest: Grey, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Somewhat tilted, on a bright ground, unevenly lit, tinted, and not quite in focus."""
    film = Image.fromarray(chest)
    scale = 0.88 * min(width / film.width, height / film.height)
    size = (round(film.width * scale), round(film.height * scale))
    film = film.resize(size, Image.Resampling.BILINEAR)
    ground = Image.new("L", (width, height), int(rng.integers(190, 235)))
    film = film.rotate(
        float(rng.uniform(-3, 3)), Image.Resampling.BILINEAR, fillcolor=20, expand=False
    )
    ground.paste(film, ((width - film.width) // 2, (height - film.height) // 2))
    ground = ground.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.8)) * width / 1600))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    light = 1 - rng.uniform(0.05, 0.25) * np.hypot(x - rng.random(), y - rng.random())
    grey = np.asarray(ground, np.float32) * light.astype(np.float32)
    tint = np.array([rng.uniform(0.94, 1.0), 1.0, rng.uniform(0.94, 1.0)], np.float32)
    return Image.fromarray(np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8))
