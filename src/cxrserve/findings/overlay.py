"""A class map drawn over its radiograph, with all that is needed to read it in the picture."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrserve.findings.evidence import Map, sampled
from cxrserve.models.preprocess import Placement

# Log-odds at the ends of the colour scale: probability 0.02 and 0.98. The scale is the same for
# every picture: stretched to each map, a film without a finding would glow like one with.
SCALE = 4.0
NOTICE = "Research use only"
_LONGEST_SIDE = 1024
# A smaller film is enlarged: its caption must be legible.
_SHORTEST_SIDE = 384
_MOST_OPAQUE = 0.55
_FOR = np.array([255.0, 72.0, 0.0], np.float32)
_AGAINST = np.array([0.0, 116.0, 255.0], np.float32)
_BAR_GREY = 110
_INK, _GROUND = (235, 235, 235), (0, 0, 0)

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is written under the picture; nothing of the patient.

    Attributes:
        label, probability: of the finding.
        model: name and version.
        shape: height and width of the class map.
        note: anything else about how it was made.
    """

    label: str
    probability: float | None
    model: str
    shape: tuple[int, int]
    note: str = ""

    def sentences(self) -> tuple[str, ...]:
        """The caption, a line each; Pillow's own font has Latin letters and no ×."""
        height, width = self.shape
        sure = "not trained" if self.probability is None else f"probability {self.probability:.3f}"
        return (
            f"{self.label}: {sure}",
            ", ".join(part for part in (self.model, self.note) if part),
            f"{height}x{width} map, upsampled: shows region, not outline",
            f"{NOTICE}. Not for diagnosis.",
        )


def draw_overlay(
    pixels: NDArray[np.uint8], evidence: Map, where: Placement, caption: Caption
) -> bytes:
    """Draw the evidence over the radiograph: orange speaks for the finding, blue against it.

    Colour and opacity depend on the log-odds alone, from -`SCALE` to +`SCALE`; at 0 the radiograph
    is seen as it is, as it is where `crop` cut it off and the network saw nothing.

    Args:
        pixels: the radiograph, uint8 `[h, w]`, air dark; or what `as_shown` made of it.
        evidence: log-odds, float32 `[h, w]`, which covers the network's square.
        where: how the image lies in that square.
        caption: what is written below.

    Returns:
        A PNG without metadata. The radiograph in it has the shape that was sent, is at most 1024
        pixels long, and stands at the top left; right of it is the colour bar, below the caption.
    """
    grey = as_shown(pixels, where.width, where.height)
    height, width = grey.shape
    film = blended(grey, evidence_in_image(evidence, where, width, height))
    font = ImageFont.load_default(size=max(12, min(width, height) // 40))
    bar = _colour_bar(height, font)
    below = _caption_strip(width + bar.width, caption.sentences(), font)
    picture = Image.new("RGB", (width + bar.width, height + below.height), _GROUND)
    picture.paste(Image.fromarray(film), (0, 0))
    picture.paste(bar, (width, 0))
    picture.paste(below, (0, height))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def as_shown(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The radiograph `[h, w]` at the size it has in the picture: at most 1 MB.

    Args:
        pixels: the radiograph, at any scale.
        width, height: of the image that was sent.
    """
    size = _shown_size(width, height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def evidence_in_image(evidence: Map, where: Placement, width: int, height: int) -> Map:
    """Evidence at each pixel of the image shown at `width` × `height`; 0 where none was seen."""
    across = (np.arange(width, dtype=np.float64) + 0.5) * (where.width / width)
    down = (np.arange(height, dtype=np.float64) + 0.5) * (where.height / height)
    xs, _ = where.to_square(across, across)
    _, ys = where.to_square(down, down)
    seen = ((ys >= 0) & (ys <= where.side))[:, None] & ((xs >= 0) & (xs <= where.side))
    return np.where(seen, sampled(evidence, xs, ys, where.side), np.float32(0))


def blended(grey: NDArray[np.uint8], evidence: Map) -> Picture:
    """Grey `[h, w]` under the colours of log-odds `[h, w]`: uint8 `[h, w, 3]`."""
    strength = np.clip(evidence / np.float32(SCALE), -1, 1)[..., None]
    colour = np.where(strength > 0, _FOR, _AGAINST)
    opacity = np.float32(_MOST_OPAQUE) * np.abs(strength)
    under = grey[..., None].astype(np.float32)
    return np.asarray(np.rint(under + opacity * (colour - under)), np.uint8)


def _shown_size(width: int, height: int) -> tuple[int, int]:
    """The size the film is shown at: its shape, and a side between what is legible and large."""
    factor = max(1.0, _SHORTEST_SIDE / min(width, height))
    factor = min(factor, _LONGEST_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _colour_bar(height: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    line = _line_height(font)
    thick, top = max(10, line), line
    length = max(1, height - 2 * top)
    scale = np.linspace(SCALE, -SCALE, length, dtype=np.float32)[:, None].repeat(thick, axis=1)
    colours = blended(np.full(scale.shape, _BAR_GREY, np.uint8), scale)
    ticks = (f"+{SCALE:g} for", "0", f"-{SCALE:g} against")
    wide = round(max(font.getlength(tick) for tick in (*ticks, "log-odds")))
    strip = Image.new("RGB", (thick + wide + 2 * line, height), _GROUND)
    strip.paste(Image.fromarray(colours), (line // 2, top))
    draw = ImageDraw.Draw(strip)
    left = line + thick
    for part, tick in zip((0.0, 0.5, 1.0), ticks, strict=True):
        draw.text((left, top + part * (length - line)), tick, fill=_INK, font=font)
    draw.text((left, top + 0.25 * length), "log-odds", fill=_INK, font=font)
    return strip


def _caption_strip(
    width: int, sentences: tuple[str, ...], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> Image.Image:
    line = _line_height(font)
    letters = max(8, int((width - line) / font.getlength("n")))
    lines = [part for sentence in sentences for part in textwrap.wrap(sentence, letters)]
    strip = Image.new("RGB", (width, line * (len(lines) + 1)), _GROUND)
    draw = ImageDraw.Draw(strip)
    for number, text in enumerate(lines):
        draw.text((line // 2, line // 2 + number * line), text, fill=_INK, font=font)
    return strip


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(1.35 * (font.getbbox("Ag")[3] - font.getbbox("Ag")[1]))
