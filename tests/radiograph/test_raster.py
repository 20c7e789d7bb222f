"""JPEG and PNG as phones, archives and PACS exports write them."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cxrserve.errors import (
    CxrError,
    EmptyUpload,
    SeveralImages,
    UnreadableImage,
    UnsupportedUpload,
    UploadTooLarge,
)
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.radiograph import ImageFormat
from cxrserve.radiograph.reader import read_radiograph

_WHOLE = Limits(jpeg_side=10_000)


def picture(rows: int = 300, columns: int = 400) -> NDArray[np.uint8]:
    """Smooth, with one bright corner that shows how it is turned."""
    y, x = np.mgrid[0:rows, 0:columns]
    values = 60 + 60 * x / columns + 40 * y / rows
    values[: rows // 4, : columns // 4] = 230
    grey: NDArray[np.uint8] = values.astype(np.uint8)
    return grey


def saved(image: Image.Image | NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    whole.save(out, kind, **options)
    return out.getvalue()


def close(one: NDArray[np.uint8], other: NDArray[np.uint8], most: float = 2.0) -> bool:
    return float(np.abs(one.astype(int) - other.astype(int)).mean()) <= most


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 60}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_is_read_as_its_grey(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(picture()).convert(mode)
    radiograph = read_radiograph(saved(image, "JPEG", **options), limits=_WHOLE)
    assert radiograph.format is ImageFormat.JPEG
    assert close(radiograph.pixels, picture())
    assert radiograph.facts.photometric == mode


_TURNED: dict[int, Callable[[Any], Any]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [10_000, 100])
def test_exif_orientation_is_applied(orientation: int, side: int) -> None:
    upright = picture()
    stored = Image.fromarray(np.ascontiguousarray(_stored_as(upright, orientation)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, "JPEG", exif=exif, quality=95)
    radiograph = read_radiograph(data, limits=Limits(jpeg_side=side))
    assert (radiograph.width, radiograph.height) == (400, 300)
    height, width = radiograph.pixels.shape
    expected = np.asarray(Image.fromarray(upright).resize((width, height)))
    assert close(radiograph.pixels, expected, 4)


def _stored_as(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What a camera stores so that `orientation` turns it upright."""
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turned: NDArray[np.uint8] = _TURNED[inverse](upright)
    return turned


@pytest.mark.parametrize(("side", "decoded"), [(512, 512), (513, 1024), (200, 256), (2000, 2048)])
def test_a_large_jpeg_is_decoded_no_smaller_than_needed(side: int, decoded: int) -> None:
    data = saved(picture(2048, 2048), "JPEG")
    radiograph = read_radiograph(data, limits=Limits(jpeg_side=side))
    assert radiograph.pixels.shape == (decoded, decoded)
    assert (radiograph.width, radiograph.height) == (2048, 2048)


@pytest.mark.parametrize("start", ["JPEG", "PNG"])
@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_a_file_cut_off_anywhere_is_said_to_be(start: str, percent: int) -> None:
    data = saved(picture(), start)
    with pytest.raises(UnreadableImage) as error:
        read_radiograph(data[: len(data) * percent // 100])
    assert error.value.reason == "truncated"


@pytest.mark.parametrize("process", [0xC3, 0xC5, 0xC9, 0xCA])
def test_other_jpeg_processes_are_named(process: int) -> None:
    data = saved(picture(), "JPEG").replace(b"\xff\xc0", bytes([0xFF, process]))
    with pytest.raises(UnsupportedUpload, match="SOF"):
        read_radiograph(data)


def test_a_twelve_bit_jpeg_is_named() -> None:
    data = bytearray(saved(picture(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedUpload, match="12 bits"):
        read_radiograph(bytes(data))


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    data = saved(picture(), "JPEG")
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(UnsupportedUpload, match="scans"):
        read_radiograph(data[:-2] + scan * 100 + data[-2:])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_two_images_in_one_upload_are_not_silently_one(kind: str) -> None:
    with pytest.raises(SeveralImages):
        read_radiograph(saved(picture(), kind) * 2)


def test_a_phones_further_pictures_are_remarked() -> None:
    first = saved(picture(), "JPEG")
    mpf = b"MPF\x00II*\x00" + bytes(20)
    segment = b"\xff\xe2" + struct.pack(">H", len(mpf) + 2) + mpf
    phone = first[:2] + segment + first[2:] + saved(picture()[:50, :50], "JPEG")
    radiograph = read_radiograph(phone)
    assert radiograph.pixels.shape == (300, 400)
    assert radiograph.remarks == ("further_pictures_ignored",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "trailer", [b"PK\x03\x04" + bytes(30), b"\0\0%PDF-1.7", b"x" * 99 + b"<script>", b"MZ\x90"]
)
def test_an_image_that_is_another_file_as_well_is_refused(kind: str, trailer: bytes) -> None:
    with pytest.raises(UnsupportedUpload, match="behind the image's end"):
        read_radiograph(saved(picture(), kind) + trailer)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_cameras_append_is_remarked_or_ignored(kind: str) -> None:
    data = saved(picture(), kind)
    assert read_radiograph(data + b"SEFH\x01").remarks == ("trailing_bytes_ignored",)
    assert read_radiograph(data + bytes(512)).remarks == ()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}])
def test_every_kind_of_png_is_read_as_its_grey(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(picture()).convert("RGB" if mode == "P" else "L").convert(mode)
    radiograph = read_radiograph(saved(image, "PNG", **options))
    expected = np.asarray(image.convert("L"))
    assert close(radiograph.pixels, expected, 2 if mode == "P" else 0)


def test_transparency_lies_on_black() -> None:
    image = Image.fromarray(picture()).convert("RGBA")
    alpha = np.full((300, 400), 255, np.uint8)
    alpha[:, 200:] = 0
    image.putalpha(Image.fromarray(alpha))
    pixels = read_radiograph(saved(image, "PNG")).pixels
    assert (pixels[:, 200:] == 0).all()
    assert np.array_equal(pixels[:, :200], picture()[:, :200])


def test_sixteen_bits_are_stretched_over_what_is_used() -> None:
    twelve = (picture().astype(np.uint16) * 16).astype(np.uint16)
    radiograph = read_radiograph(saved(Image.fromarray(twelve), "PNG"))
    assert radiograph.facts.bits_stored == 16
    low, high = picture().min(), picture().max()
    expected = (picture().astype(float) - low) / (high - low) * 255
    assert np.abs(radiograph.pixels - expected).max() <= 1


def test_colour_is_measured() -> None:
    red = np.zeros((300, 400, 3), np.uint8)
    red[..., 0] = 255
    for kind in ("PNG", "JPEG"):
        assert read_radiograph(saved(red, kind)).facts.saturation == pytest.approx(1, abs=0.02)
        grey = read_radiograph(saved(Image.fromarray(picture()).convert("RGB"), kind))
        assert grey.facts.saturation == pytest.approx(0, abs=0.01)


def test_an_animation_is_several_frames() -> None:
    frames = [Image.fromarray(picture() // step) for step in (1, 2)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableImage) as error:
        read_radiograph(data)
    assert error.value.reason == "multi_frame"


def test_bombs_in_text_and_profile_are_not_opened() -> None:
    words = PngInfo()
    words.add_text("comment", "x" * 60_000_000, zip=True)
    data = saved(picture(), "PNG", pnginfo=words, icc_profile=bytes(30_000_000))
    assert np.array_equal(read_radiograph(data).pixels, picture())


def test_a_damaged_chunk_is_corrupt() -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[data.index(b"IDAT") + 30] ^= 0xFF
    with pytest.raises(UnreadableImage) as error:
        read_radiograph(bytes(data))
    assert error.value.reason == "corrupt"


@pytest.mark.parametrize("place", range(0, 60, 3))
def test_damaged_headers_never_give_anything_but_a_clear_error(place: int) -> None:
    for kind in ("PNG", "JPEG"):
        for value in (0, 0x7F, 0xFF):
            data = bytearray(saved(picture(), kind))
            data[place] = value
            try:
                read_radiograph(bytes(data))
            except CxrError as error:
                seen = error.detail
                assert seen


def declaring(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("width", "height", "colour"), [(65535, 65535, 0), (11_000, 9_500, 0), (9_000, 9_000, 6)]
)
def test_limits_are_checked_before_memory_is_spent(width: int, height: int, colour: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UploadTooLarge):
        read_radiograph(declaring(width, height, 8, colour))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("size", [(65535, 65535), (20_000, 5_001)])
def test_the_size_a_jpeg_declares_is_checked_first(size: tuple[int, int]) -> None:
    data = bytearray(saved(picture(), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", *size)
    with pytest.raises(UploadTooLarge, match="declares"):
        read_radiograph(bytes(data))


def test_an_upload_over_the_limit_is_not_looked_at() -> None:
    with pytest.raises(UploadTooLarge, match="1000 bytes"):
        read_radiograph(b"\x89PNG\r\n\x1a\n" + bytes(2000), limits=Limits(upload_bytes=1000))


@pytest.mark.parametrize(
    ("said", "mismatch"),
    [
        ("image/png", False),
        ("image/jpeg", True),
        ("application/dicom", True),
        ("application/octet-stream", False),
        ("IMAGE/PNG; charset=binary", False),
        (None, False),
        ("", False),
    ],
)
def test_the_content_decides_and_a_mismatch_is_said(said: str | None, mismatch: bool) -> None:
    radiograph = read_radiograph(saved(picture(), "PNG"), content_type=said)
    assert radiograph.format is ImageFormat.PNG
    assert ("content_type_mismatch" in radiograph.remarks) is mismatch


def test_nothing_is_empty() -> None:
    with pytest.raises(EmptyUpload):
        read_radiograph(b"")


@pytest.mark.parametrize("data", [b"hello", b"GIF89a", b"BM" + bytes(60), bytes(5000)])
def test_other_files_are_named(data: bytes) -> None:
    with pytest.raises(UnsupportedUpload) as error:
        read_radiograph(data)
    assert "image/png" in error.value.facts["supported"]


def test_pixels_and_shape_make_the_digest() -> None:
    one = read_radiograph(saved(picture(), "PNG"))
    same = read_radiograph(saved(Image.fromarray(picture()).convert("RGB"), "PNG"))
    other = read_radiograph(saved(np.ascontiguousarray(picture().T), "PNG"))
    assert one.sha256 == same.sha256 != other.sha256


def test_reading_a_jpeg_never_loads_the_dicom_codecs() -> None:
    script = (
        "import sys; from cxrserve.radiograph.reader import read_radiograph as r;"
        "r(sys.stdin.buffer.read()); sys.exit('pydicom' in sys.modules or 'gdcm' in sys.modules)"
    )
    data = saved(picture(), "JPEG")
    assert subprocess.run([sys.executable, "-c", script], input=data, check=False).returncode == 0
