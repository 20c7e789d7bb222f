"""The radiograph: grey pixels, and what is known about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class ImageFormat(StrEnum):
    """The kinds of file that are read, by their media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    DICOM = "application/dicom"


class AgeBand(StrEnum):
    """A patient's age, coarse enough not to identify (years)."""

    INFANT = "0-1"
    CHILD = "2-11"
    ADOLESCENT = "12-17"
    ADULT = "18-64"
    SENIOR = "65+"

    @classmethod
    def of_years(cls, years: float) -> AgeBand:
        """The band that holds an age in years."""
        bands = ((2, cls.INFANT), (12, cls.CHILD), (18, cls.ADOLESCENT), (65, cls.ADULT))
        for limit, band in bands:
            if years < limit:
                return band
        return cls.SENIOR


@dataclass(frozen=True, slots=True)
class Identifiers:
    """DICOM UIDs of the image; they go back to the sender and nowhere else."""

    study: str = ""
    series: str = ""
    sop_instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the file says about its image. Every field may be unknown (None or empty).

    Attributes:
        view: DICOM View Position (PS3.3 C.8.11.7): `PA`, `AP`, `LL`, `RL` …
        laterality: `L`, `R`, `B` or `U`.
        spacing_mm: row and column distance of pixels at the detector, in mm.
        age_band: age of the patient, as a band.
        modality: `CR`, `DX`, `SC` … for DICOM.
        body_part: DICOM Body Part Examined, upper case.
        colour: the file had colour channels that differ.
        saturation: mean of (max - min channel) / 255 over the image, 0 for grey.
        photometric: as stored: `MONOCHROME1`, `MONOCHROME2`, `L`, `RGB` …
        bits_stored: bits a sample holds.
        phantom: the file declares itself a phantom of this project.
    """

    view: str | None = None
    laterality: str | None = None
    spacing_mm: tuple[float, float] | None = None
    age_band: AgeBand | None = None
    modality: str | None = None
    body_part: str | None = field(default=None, repr=False)  # some sites type anything here
    colour: bool = False
    saturation: float = 0.0
    photometric: str = "L"
    bits_stored: int = 8
    phantom: bool = False
    identifiers: Identifiers = field(default_factory=Identifiers)


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One decoded image, air dark, ready for the gate and the networks.

    Attributes:
        pixels: uint8 `[height, width]`, C-contiguous, read-only.
        format: what the bytes were, by their content.
        width, height: size in pixels as the file declares it, upright (EXIF applied); `pixels`
            may be smaller where a JPEG was decoded at reduced scale.
        facts: what the file says about the image.
        remarks: codes of what was noticed while reading, e.g. `content_type_mismatch`.
    """

    pixels: NDArray[np.uint8]
    format: ImageFormat
    width: int
    height: int
    facts: Facts = field(default_factory=Facts)
    remarks: tuple[str, ...] = ()

    def without_pixels(self) -> Radiograph:
        """The same film, black: it tells size and facts, and takes no memory while it waits."""
        return replace(self, pixels=np.broadcast_to(np.uint8(0), self.pixels.shape))

    @cached_property
    def sha256(self) -> str:
        """Digest of shape and pixels: the same for every lossless coding of one image."""
        digest = hashlib.sha256(f"{self.pixels.shape[0]}x{self.pixels.shape[1]}:".encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()
