"""JPEG and PNG bytes become a radiograph."""

from __future__ import annotations

import io
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from cxrserve.errors import SeveralImages, UnreadableImage, UnsupportedUpload
from cxrserve.radiograph import jpeg_layout, png_layout
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.radiograph import Facts, ImageFormat, Radiograph
from cxrserve.radiograph.sniff import JPEG_START, PNG_SIGNATURE, foreign_kind, hidden_kind

# Limits.check_pixels runs first and is stricter; Pillow would only add a warning on top.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pillow warns of odd metadata that is not used here; what matters raises.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {_TURNS[code] for code in (5, 6, 7, 8)}
_DAMAGED = (OSError, SyntaxError, ValueError, IndexError, KeyError, zlib.error, EOFError)
_COLOUR_SIDE = 256


@dataclass(frozen=True, slots=True)
class _Grey:
    pixels: NDArray[np.uint8]
    saturation: float


def read_jpeg(data: bytes, limits: Limits) -> Radiograph:
    """Decode a JPEG, at reduced scale where it is larger than the networks need.

    Raises:
        UnreadableImage, UnsupportedUpload, SeveralImages, UploadTooLarge: see `errors.py`.
    """
    layout = jpeg_layout.read_layout(data)
    remarks = _check_trailer(data[layout.end :], JPEG_START, expected=layout.many_pictures)
    limits.check_pixels(layout.width, layout.height)
    scale = _dct_scale(layout.width, layout.height, limits.jpeg_side)
    decoded = layout.width * layout.height * layout.components // scale**2
    limits.check_inflation(decoded + layout.coefficient_bytes, layout.end)
    try:
        with Image.open(io.BytesIO(data[: layout.end]), formats=["JPEG"]) as image:
            stored_mode = image.mode
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            assert isinstance(image, JpegImageFile)
            mode = "YCbCr" if image.mode == "RGB" and not _stored_as_rgb(image) else image.mode
            image.draft(mode, (layout.width // scale, layout.height // scale))
            grey = _grey(image)
    except _DAMAGED as error:
        raise _damaged("JPEG") from error
    return _radiograph(
        grey,
        ImageFormat.JPEG,
        (layout.width, layout.height),
        turn=turn,
        remarks=remarks,
        facts=_facts(grey, stored_mode, 8, layout.phantom),
    )


def read_png(data: bytes, limits: Limits) -> Radiograph:
    """Decode a PNG. Sixteen-bit grey is stretched from its smallest to its largest value,
    because many archives keep 10 to 14 bits in it without saying so.

    Raises:
        UnreadableImage, UnsupportedUpload, SeveralImages, UploadTooLarge: see `errors.py`.
    """
    layout = png_layout.read_layout(data)
    remarks = _check_trailer(data[layout.end :], PNG_SIGNATURE, expected=False)
    limits.check_pixels(layout.width, layout.height)
    decoded = layout.width * layout.height * layout.channels * max(layout.depth, 8) // 8
    limits.check_inflation(decoded, layout.image_bytes)
    bare = PNG_SIGNATURE + b"".join(data[start:stop] for start, stop in layout.needed)
    try:
        with Image.open(io.BytesIO(bare), formats=["PNG"]) as image:
            stored_mode = image.mode
            grey = _grey(image)
    except _DAMAGED as error:
        raise _damaged("PNG") from error
    return _radiograph(
        grey,
        ImageFormat.PNG,
        (layout.width, layout.height),
        turn=None,
        remarks=remarks,
        facts=_facts(grey, stored_mode, layout.depth, layout.phantom),
    )


def grey_of(image: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """Luma (ITU-R BT.601) of any image as uint8 `[height, width]`, and its mean saturation 0..1."""
    grey = _grey(image)
    return grey.pixels, grey.saturation


def _grey(image: Image.Image) -> _Grey:
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        return _Grey(_stretched(np.asarray(image), image.info.get("transparency")), 0.0)
    if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert(image.mode[:-1])
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # What is transparent has no density of its own; black is what surrounds a film.
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque).convert("RGB")
    if image.mode in ("P", "CMYK", "LAB", "HSV"):
        image = image.convert("RGB")
    if image.mode == "YCbCr":
        return _Grey(np.asarray(image.getchannel("Y")), _saturation(image))
    if image.mode == "RGB":
        return _Grey(np.asarray(image.convert("L")), _saturation(image))
    return _Grey(np.asarray(image.convert("L")), 0.0)


def _saturation(image: Image.Image) -> float:
    step = max(1, min(image.size) // _COLOUR_SIDE)
    small = np.asarray(image.reduce(step).convert("RGB"), np.int16)
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def _stretched(values: NDArray[np.generic], transparent: float | None) -> NDArray[np.uint8]:
    wide = values.astype(np.float32)
    seen = wide if transparent is None else wide[wide != transparent]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(wide.shape, np.uint8)
    shown: NDArray[np.uint8] = (
        np.rint((wide - low) * (255.0 / (high - low))).clip(0, 255).astype(np.uint8)
    )
    if transparent is not None:
        shown[wide == transparent] = 0
    return shown


def _stored_as_rgb(image: JpegImageFile) -> bool:
    # As libjpeg decides (jdapimin.c, default_decompress_parms): it cannot turn RGB into YCbCr.
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(component[0] for component in image.layer) == b"RGB"


def _dct_scale(width: int, height: int, side: int) -> int:
    return next((scale for scale in (8, 4, 2) if min(width, height) // scale >= side), 1)


def _check_trailer(trailer: bytes, start: bytes, *, expected: bool) -> tuple[str, ...]:
    if not trailer.strip(b"\x00\r\n "):
        return ()
    # A phone's further pictures are megabytes of noise, where a short magic occurs by chance.
    hidden = foreign_kind(trailer) if expected else hidden_kind(trailer)
    if hidden is not None:
        raise UnsupportedUpload(
            f"behind the image's end the upload is {hidden}",
            advice="send the image alone",
        )
    if expected:
        return ("further_pictures_ignored",)
    if start in trailer:
        raise SeveralImages(
            "the upload holds more than one image",
            advice="send one image a request, or use /v1/predict/batch",
        )
    return ("trailing_bytes_ignored",)


def _damaged(kind: str) -> UnreadableImage:
    return UnreadableImage(
        f"the {kind} is damaged and cannot be decoded",
        reason="corrupt",
        advice="export the image again from where it came from",
    )


def _facts(grey: _Grey, mode: str, depth: int, phantom: bool) -> Facts:
    return Facts(
        colour=grey.saturation > 0,
        saturation=grey.saturation,
        photometric=mode,
        bits_stored=depth,
        phantom=phantom,
    )


def _radiograph(
    grey: _Grey,
    kind: ImageFormat,
    size: tuple[int, int],
    *,
    turn: Image.Transpose | None,
    remarks: tuple[str, ...],
    facts: Facts,
) -> Radiograph:
    pixels, (width, height) = grey.pixels, size
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
        if turn in _ON_ITS_SIDE:
            width, height = height, width
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return Radiograph(
        pixels=pixels, format=kind, width=width, height=height, facts=facts, remarks=remarks
    )
