"""A drawn chest: something to try the service with that was never a patient.

Drawn as absorption: each structure adds to what the beam passes through, so that ribs over lung
and heart over spine look as they do on a film. No measurement of a real person went into it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from PIL.PngImagePlugin import PngInfo

LEGEND = "PHANTOM - NOT A PATIENT"
_WORKING_SIDE = 512

Absorption = NDArray[np.float32]
Point = tuple[float, float]


def draw_phantom(*, side: int = 1024, seed: int = 0) -> NDArray[np.uint8]:
    """Draw a frontal (PA) chest phantom.

    Args:
        side: width and height in pixels, at least 128.
        seed: varies build, rib spacing, heart size and noise; the same seed, the same phantom.

    Returns:
        uint8 `[side, side]`, air dark.
    """
    rng = np.random.default_rng(seed)
    width, height = rng.uniform(0.94, 1.04), rng.uniform(0.95, 1.03)
    torso = _torso(width)
    total = torso + _mediastinum(rng, width) + _bones(rng, width, height) * np.clip(torso, 0, 1)
    lungs = _lungs(rng, width, height)
    total = total - 0.62 * lungs * (0.9 + 0.1 * _clouds(rng, 24)) + 0.07 * lungs * _vessels(rng)
    total += 0.03 * _clouds(rng, 12)
    shown = 255 * (1 - np.exp(-1.55 * np.clip(total, 0, None)))
    shown *= _collimation(rng)
    image = Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    noisy = np.asarray(image, np.float32) + rng.normal(0, 2.2, (side, side))
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    _write_legend(image)
    return np.asarray(image)


def write_phantom(path: Path, *, side: int = 1024, seed: int = 0) -> None:
    """Write a phantom that says in the file itself that it is one.

    Args:
        path: `.png`, `.jpg`, `.jpeg` or `.dcm`.
        side, seed: see `draw_phantom`.

    Raises:
        ValueError: another suffix.
    """
    pixels, suffix = draw_phantom(side=side, seed=seed), path.suffix.lower()
    if suffix == ".png":
        words = PngInfo()
        words.add_text("cxrserve", "phantom")
        Image.fromarray(pixels).save(path, pnginfo=words)
    elif suffix in (".jpg", ".jpeg"):
        Image.fromarray(pixels).save(path, quality=92, comment=b"cxrserve=phantom")
    elif suffix == ".dcm":
        _write_dicom(path, pixels)
    else:
        raise ValueError(f"{path.name}: the suffix must be .png, .jpg or .dcm")


def _torso(width: float) -> Absorption:
    outline: list[Point] = [
        (0.40, -0.1), (0.40, 0.06), (0.28, 0.10), (0.10, 0.13), (-0.02, 0.22), (-0.04, 0.42),
        (0.06, 0.52), (0.10, 0.66), (0.11, 0.82), (0.09, 1.1),
    ]  # fmt: skip
    both = outline + [(1 - x, y) for x, y in reversed(outline)]
    body = 0.80 * _shape(_widened(both, width), blur=7)
    below = 0.36 * _shape(_widened([(0.08, 0.80), (0.92, 0.80), (0.92, 1.1), (0.08, 1.1)], 1), 26)
    return body + below


def _lungs(rng: np.random.Generator, width: float, height: float) -> Absorption:
    right: list[Point] = [
        (0.40, 0.13), (0.32, 0.145), (0.24, 0.24), (0.185, 0.40), (0.16, 0.58), (0.15, 0.735),
        (0.22, 0.70), (0.30, 0.675), (0.39, 0.70), (0.425, 0.66), (0.42, 0.45), (0.44, 0.30),
        (0.44, 0.18),
    ]  # fmt: skip
    left: list[Point] = [
        (0.60, 0.13), (0.68, 0.145), (0.76, 0.24), (0.815, 0.40), (0.84, 0.58), (0.85, 0.76),
        (0.79, 0.725), (0.72, 0.715), (0.69, 0.66), (0.645, 0.54), (0.585, 0.45), (0.565, 0.30),
        (0.56, 0.18),
    ]  # fmt: skip
    sway = rng.uniform(-0.008, 0.008)
    total = np.zeros((_WORKING_SIDE, _WORKING_SIDE), np.float32)
    for lung in (right, left):
        stretched = [(x + sway, 0.13 + (y - 0.13) * height) for x, y in lung]
        total += _shape(_widened(stretched, width), blur=5)
    return np.clip(total, 0, 1)


def _mediastinum(rng: np.random.Generator, width: float) -> Absorption:
    heart = rng.uniform(0.92, 1.12)
    total = 0.34 * _ellipse(0.535, 0.585, 0.125 * heart * width, 0.125 * heart, tilt=-32, blur=7)
    total += 0.20 * _ellipse(0.455, 0.60, 0.06 * heart, 0.10, tilt=0, blur=8)
    total += 0.20 * _ellipse(0.578, 0.335, 0.032, 0.034, tilt=0, blur=5)
    for x, y in ((0.405, 0.43), (0.60, 0.42)):
        total += 0.16 * _ellipse(x, y, 0.035, 0.065, tilt=rng.uniform(-15, 15), blur=8)
    trachea = _shape([(0.487, 0.0), (0.513, 0.0), (0.515, 0.33), (0.485, 0.33)], blur=4)
    return np.asarray(total - 0.13 * trachea, np.float32)


def _bones(rng: np.random.Generator, width: float, height: float) -> Absorption:
    total = np.zeros((_WORKING_SIDE, _WORKING_SIDE), np.float32)
    spacing = rng.uniform(0.066, 0.074) * height
    for number in range(9):
        top = 0.125 + spacing * number
        reach = width * (0.17 + 0.20 * min(1, (number + 1.6) / 5.5))
        for mirror in (-1, 1):
            for drop, weight in ((0.055, 0.105), (0.15, 0.05)):
                rib = _arc(mirror, top, reach, drop if weight > 0.1 else -drop, weight < 0.1)
                total += weight * _stroke(rib, 0.021 if weight > 0.1 else 0.017, blur=2)
    for number in range(15):
        y = 0.02 + 0.066 * number
        total += 0.17 * _ellipse(0.5, y + 0.028, 0.040, 0.026, tilt=0, blur=3)
        total += 0.06 * _ellipse(0.5, y + 0.055, 0.012, 0.018, tilt=0, blur=2)
    for mirror in (-1, 1):
        tilt = rng.uniform(-0.012, 0.012)
        clavicle = [
            (0.5 + mirror * 0.035, 0.165),
            (0.5 + mirror * 0.14, 0.135 + tilt),
            (0.5 + mirror * 0.26 * width, 0.125 + tilt),
            (0.5 + mirror * 0.36 * width, 0.165 + tilt),
        ]
        total += 0.17 * _stroke(clavicle, 0.024, blur=2)
        total += 0.24 * _ellipse(0.5 + mirror * 0.41 * width, 0.215, 0.045, 0.045, tilt=0, blur=4)
        scapula = [(0.5 + mirror * 0.39, 0.22), (0.5 + mirror * 0.345, 0.33)]
        scapula += [(0.5 + mirror * 0.365, 0.47)]
        total += 0.10 * _stroke(scapula, 0.022, blur=4)
    return total


def _arc(mirror: int, top: float, reach: float, drop: float, front: bool) -> list[Point]:
    start, points = (0.16 if front else 0.0), []
    for step in np.linspace(start, 1, 14):
        angle = step * np.pi / 2
        x = 0.5 + mirror * (0.05 + reach * np.sin(angle) ** 0.9)
        y = top + (0.155 if front else 0.0) + drop * (1 - np.cos(angle)) * 2.0
        points.append((float(x), float(y)))
    return points


def _vessels(rng: np.random.Generator) -> Absorption:
    total = np.zeros((_WORKING_SIDE, _WORKING_SIDE), np.float32)
    for mirror in (-1, 1):
        for _ in range(22):
            x = 0.5 + mirror * rng.uniform(0.075, 0.12)
            y = 0.43 + rng.uniform(-0.06, 0.06)
            angle = rng.uniform(-1.25, 1.35)
            points, length = [(x, y)], rng.uniform(0.12, 0.27)
            for _ in range(6):
                angle += rng.normal(0, 0.14)
                x += mirror * np.cos(angle) * length / 6
                y += np.sin(angle) * length / 6
                points.append((float(x), float(y)))
            total += 0.5 * _stroke(points, rng.uniform(0.003, 0.009), blur=2)
    return np.clip(total, 0, 1.6)


def _clouds(rng: np.random.Generator, cells: int) -> Absorption:
    coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    image = Image.fromarray(coarse).resize((_WORKING_SIDE,) * 2, Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def _collimation(rng: np.random.Generator) -> Absorption:
    inside = np.zeros((_WORKING_SIDE, _WORKING_SIDE), np.float32)
    left, top, right, bottom = (rng.integers(0, 14) for _ in range(4))
    inside[top : _WORKING_SIDE - bottom, left : _WORKING_SIDE - right] = 1
    return inside


def _widened(points: list[Point], width: float) -> list[Point]:
    return [(0.5 + (x - 0.5) * width, y) for x, y in points]


def _shape(points: list[Point], blur: float) -> Absorption:
    image = Image.new("L", (_WORKING_SIDE, _WORKING_SIDE))
    ImageDraw.Draw(image).polygon(_in_pixels(_smooth(points)), fill=255)
    return _blurred(image, blur)


def _ellipse(
    x: float, y: float, half_width: float, half_height: float, *, tilt: float, blur: float
) -> Absorption:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    turn = np.deg2rad(tilt)
    across, down = half_width * np.cos(angles), half_height * np.sin(angles)
    points = zip(
        x + across * np.cos(turn) - down * np.sin(turn),
        y + across * np.sin(turn) + down * np.cos(turn),
        strict=True,
    )
    image = Image.new("L", (_WORKING_SIDE, _WORKING_SIDE))
    ImageDraw.Draw(image).polygon(_in_pixels([(float(a), float(b)) for a, b in points]), fill=255)
    return _blurred(image, blur)


def _stroke(points: list[Point], thickness: float, blur: float) -> Absorption:
    image = Image.new("L", (_WORKING_SIDE, _WORKING_SIDE))
    wide = max(1, round(thickness * _WORKING_SIDE))
    ImageDraw.Draw(image).line(_in_pixels(points), fill=255, width=wide, joint="curve")
    return _blurred(image, blur)


def _smooth(points: list[Point], rounds: int = 2) -> list[Point]:
    """Round a polygon's corners (Chaikin 1974)."""
    for _ in range(rounds):
        rounded: list[Point] = []
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            rounded.append((0.75 * x0 + 0.25 * x1, 0.75 * y0 + 0.25 * y1))
            rounded.append((0.25 * x0 + 0.75 * x1, 0.25 * y0 + 0.75 * y1))
        points = rounded
    return points


def _in_pixels(points: list[Point]) -> list[Point]:
    return [(x * _WORKING_SIDE, y * _WORKING_SIDE) for x, y in points]


def _blurred(image: Image.Image, radius: float) -> Absorption:
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return blurred / np.float32(255)


def _write_legend(image: Image.Image) -> None:
    side = image.width
    font = ImageFont.load_default(size=max(8, side // 34))
    draw = ImageDraw.Draw(image)
    draw.text((side * 0.03, side * 0.95), LEGEND, fill=235, font=font)
    draw.text((side * 0.94, side * 0.04), "L", fill=235, font=font)


def _write_dicom(path: Path, pixels: NDArray[np.uint8]) -> None:
    # Only this rare path needs pydicom in the process that draws.
    from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import (  # noqa: PLC0415
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = "PHANTOM^NOT A PATIENT", "PHANTOM"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
