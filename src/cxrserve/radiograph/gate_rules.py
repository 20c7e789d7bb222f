"""What the gate can say of a radiograph, and the rules that need no network to say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cxrserve.radiograph.radiograph import AgeBand, Radiograph


class ReasonCode(StrEnum):
    """Machine-readable reasons, in the order in which remarks are given: refusals first."""

    NOT_A_RADIOGRAPH = "not_a_radiograph"
    NOT_A_CHEST = "not_a_chest"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    ROTATED = "rotated"
    LATERAL_VIEW = "lateral_view"
    UNUSUAL_VIEW = "unusual_view"
    INVERTED = "inverted"
    LOW_CONTRAST = "low_contrast"
    PHOTO_OF_FILM = "photo_of_film"
    COLOURED = "coloured"
    PAEDIATRIC = "paediatric"
    PHANTOM = "phantom"

    @property
    def refuses(self) -> bool:
        """Whether an image with this remark is answered only by force."""
        return self in _REFUSING


_REFUSING = frozenset(
    {
        ReasonCode.NOT_A_RADIOGRAPH,
        ReasonCode.NOT_A_CHEST,
        ReasonCode.TOO_SMALL,
        ReasonCode.BLANK,
        ReasonCode.ROTATED,
    }
)


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing the gate noticed.

    Attributes:
        code: a `ReasonCode`.
        detail: a sentence for people: what was seen, and what to do. No patient data.
        refuses: the image is answered only when the caller forces it.
    """

    code: str
    detail: str
    refuses: bool

    @classmethod
    def of(cls, code: ReasonCode, detail: str) -> Remark:
        """The remark that a reason makes; whether it refuses follows from the reason."""
        return cls(code, detail, code.refuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """Every threshold of the gate.

    Attributes:
        shorter_side: declared pixels. Below 128 a chest's pixel is over 2.5 mm wide: no nodule
            or fine interstitial line survives, and no network here was trained on so little.
        aspect: longer over shorter side. Detectors are 35 x 43 cm (1.23); the real chest films
            measured reach 1.8 where cropped. Beyond 2.5 two lungs do not fit.
        blank_range: grey levels between the 1st and 99th percentile. The flattest real film
            measured has 60; an unexposed or saturated detector has noise only.
        low_contrast_range: the same range; below it half of the 8-bit scale is unused.
        saturation: mean (max - min channel) / 255. A film photographed on a lightbox or tinted
            blue stays below; a colour photograph of anything else usually lies above.
        tint: the same; below it colour is a marker or an annotation, not the picture.
        probability: of a class of the network. The export shifts each class's bias so that
            0.5 is the threshold chosen on the validation split.
    """

    shorter_side: int = 128
    aspect: float = 2.5
    blank_range: float = 12.0
    low_contrast_range: float = 96.0
    saturation: float = 0.30
    tint: float = 0.04
    probability: float = 0.5


Rule = Callable[[Radiograph, GateLimits], Iterator[Remark]]

# DICOM modalities (PS3.3 C.7.3.1.1.1) whose single images can be a chest radiograph: computed and
# digital radiography, fluoroscopy, angiography units (they make spot films), secondary captures.
_RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RF", "RG", "XA", "SC", "OT"})

# Others that a remark may quote. It quotes nothing else: a field may hold anything, even a name.
_OTHER_MODALITIES = frozenset({"CT", "ES", "IO", "IVUS", "MG", "MR", "NM", "PT", "PX", "US", "XC"})

# Body Part Examined (PS3.16 annex L) that names a part which is no chest. Parts that are neither
# here nor chest-like (WHOLEBODY, a local word) say nothing, and the network decides.
_OTHER_BODY_PARTS = frozenset(
    """
    ABDOMEN ABDOMENPELVIS ANKLE ARM BREAST BUTTOCK CALCANEUS CALF CSPINE CERVICALSPINE COCCYX
    ELBOW EXTREMITY EYE FACE FEMUR FINGER FOOT FOREARM HAND HEAD HIP HUMERUS JAW KIDNEY KNEE LEG
    LOWLIMB LOWERLIMB LOWEREXTREMITY LSPINE LUMBARSPINE MANDIBLE MAXILLA NECK NOSE ORBIT PATELLA
    PELVIS RADIUS RADIUSULNA SACRUM SCAPULA SHOULDER SINUS SKULL SPINE SSPINE TEETH THIGH THUMB
    TIBIA TIBIAFIBULA TOE ULNA UPLIMB UPPERLIMB UPPEREXTREMITY WRIST ZYGOMA
    """.split()  # noqa: SIM905 - sixty strings one a line hide the rule below
)

_LATERAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"})
_UNUSUAL = {
    "RLD": "lying on the right side",
    "LLD": "lying on the left side",
    "RLO": "oblique",
    "LLO": "oblique",
    "RAO": "oblique",
    "LAO": "oblique",
    "RPO": "oblique",
    "LPO": "oblique",
}

_MINORS = frozenset({AgeBand.INFANT, AgeBand.CHILD, AgeBand.ADOLESCENT})


def size(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """Too few pixels to read, or a shape that no chest has."""
    shorter, longer = sorted((radiograph.width, radiograph.height))
    if shorter < limits.shorter_side:
        yield Remark.of(
            ReasonCode.TOO_SMALL,
            f"the image is {radiograph.width} x {radiograph.height} pixels; its shorter side must "
            f"be at least {limits.shorter_side}: send the original, not a thumbnail",
        )
    if longer > limits.aspect * shorter:
        yield Remark.of(
            ReasonCode.NOT_A_CHEST,
            f"the image is {radiograph.width} x {radiograph.height} pixels; two lungs do not fit "
            f"into a strip more than {limits.aspect:g} times as long as wide",
        )


def contrast(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """Nothing is shown, or little of the grey scale is used."""
    darkest, brightest = np.percentile(_thinned(radiograph), (1, 99))
    grey_levels = float(brightest - darkest)
    if grey_levels < limits.blank_range:
        yield Remark.of(
            ReasonCode.BLANK, f"the image is blank: it uses {grey_levels:.0f} of 256 grey levels"
        )
    elif grey_levels < limits.low_contrast_range:
        yield Remark.of(
            ReasonCode.LOW_CONTRAST,
            f"the image uses {grey_levels:.0f} of 256 grey levels; at least "
            f"{limits.low_contrast_range:.0f} are usual: check the window",
        )


def colour(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """Radiographs are grey; strong colour makes a photograph, a tint makes doubt."""
    saturation = radiograph.facts.saturation
    if saturation >= limits.saturation:
        yield Remark.of(
            ReasonCode.NOT_A_RADIOGRAPH,
            f"the image is in strong colour (mean saturation {saturation:.2f}); "
            "a radiograph is grey",
        )
    elif radiograph.facts.colour and saturation >= limits.tint:
        yield Remark.of(
            ReasonCode.COLOURED,
            f"the image is tinted (mean saturation {saturation:.2f}); only its grey was read",
        )


def modality(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """DICOM says that the image comes from something else than radiography."""
    said = (radiograph.facts.modality or "").strip().upper()
    if said and said not in _RADIOGRAPHY:
        name = said if said in _OTHER_MODALITIES else "none of radiography"
        yield Remark.of(
            ReasonCode.NOT_A_RADIOGRAPH,
            f"the DICOM modality is {name}; CR, DX, RF and SC are read here",
        )


def body_part(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """DICOM names a body part that is not the chest."""
    said = "".join(filter(str.isalpha, (radiograph.facts.body_part or "").upper()))
    if said in _OTHER_BODY_PARTS:
        yield Remark.of(ReasonCode.NOT_A_CHEST, f"the DICOM body part is {said}, not the chest")


def view(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """The networks were trained on frontal films of standing, sitting or supine patients."""
    said = (radiograph.facts.view or "").strip().upper()
    if said in _LATERAL:
        yield Remark.of(
            ReasonCode.LATERAL_VIEW, "a lateral view; the networks were trained on frontal films"
        )
    elif said in _UNUSUAL:
        yield Remark.of(
            ReasonCode.UNUSUAL_VIEW,
            f"view {said} ({_UNUSUAL[said]}); the networks were trained on PA and AP films",
        )


def age(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """A child's chest is not a small adult's."""
    band = radiograph.facts.age_band
    if band in _MINORS:
        yield Remark.of(
            ReasonCode.PAEDIATRIC,
            f"the patient is {band} years old; see each model's age bands before relying on it",
        )


def phantom(radiograph: Radiograph, limits: GateLimits) -> Iterator[Remark]:
    """The file says itself that it is drawn."""
    if radiograph.facts.phantom:
        yield Remark.of(ReasonCode.PHANTOM, "the file declares itself a phantom, not a patient")


RULES: tuple[Rule, ...] = (size, contrast, colour, modality, body_part, view, age, phantom)


def _thinned(radiograph: Radiograph) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """About 256 x 256 evenly spaced pixels: percentiles of a film need no more."""
    height, width = radiograph.pixels.shape
    return radiograph.pixels[:: max(1, height // 256), :: max(1, width // 256)]
