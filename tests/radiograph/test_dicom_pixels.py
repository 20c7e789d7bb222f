"""Stored values become grey levels in the standard's order, as dcmtk shows them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset

from tests.radiograph.dicom_files import dicom, encoded, lut, ramp, read

VALUES = ramp(12)


def shown(dataset: FileDataset) -> NDArray[np.int64]:
    return read(dataset).pixels.astype(np.int64)


def by_dcmtk(data: bytes, folder: Path, *options: str) -> NDArray[np.int64]:
    (folder / "in.dcm").write_bytes(data)
    command = ["dcmj2pnm", *options, str(folder / "in.dcm"), str(folder / "out.pgm")]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(Image.open(folder / "out.pgm"), np.int64)


_CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "window": ({"WindowCenter": 1500, "WindowWidth": 2000}, ("+Wi", "1")),
    "first of several windows": (
        {"WindowCenter": [1500, 100], "WindowWidth": [2000, 50]},
        ("+Wi", "1"),
    ),
    "narrow window": ({"WindowCenter": 700.5, "WindowWidth": 1}, ("+Wi", "1")),
    "window after rescale": (
        {"WindowCenter": 0, "WindowWidth": 900, "RescaleSlope": 0.5, "RescaleIntercept": -1024},
        ("+Wi", "1"),
    ),
    "negative slope": (
        {"WindowCenter": 0, "WindowWidth": 3000, "RescaleSlope": -1, "RescaleIntercept": 2000},
        ("+Wi", "1"),
    ),
    "MONOCHROME1 window": (
        {"WindowCenter": 1500, "WindowWidth": 2000, "PhotometricInterpretation": "MONOCHROME1"},
        ("+Wi", "1"),
    ),
    "no window": ({}, ("+Wm",)),
    "MONOCHROME1, no window": ({"PhotometricInterpretation": "MONOCHROME1"}, ("+Wm",)),
    "VOI LUT": (
        {"VOILUTSequence": [lut([min(65535, 20 * i) for i in range(4096)])]},
        ("+Wl", "1"),
    ),
    "VOI LUT from an offset": (
        {"VOILUTSequence": [lut([65535 - 60 * i for i in range(1000)], first=1200)]},
        ("+Wl", "1"),
    ),
    "modality LUT": (
        {
            "ModalityLUTSequence": [
                lut([(i * i) // 300 for i in range(4096)], ModalityLUTType="US")
            ],
            "WindowCenter": 20000,
            "WindowWidth": 30000,
        },
        ("+Wi", "1"),
    ),
}


@pytest.mark.dcmtk
@pytest.mark.parametrize("name", _CASES)
def test_grey_levels_agree_with_dcmtk(dcmtk: None, tmp_path: Path, name: str) -> None:
    elements, options = _CASES[name]
    data = encoded(dicom(VALUES, **elements))
    difference = np.abs(read(data).pixels.astype(int) - by_dcmtk(data, tmp_path, *options))
    assert difference.max() <= 1


@pytest.mark.data
@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RG1_UNCR.dcm", ("+Wi", "1")),
        ("RG1_J2KI.dcm", ()),
        ("vlut_04.dcm", ("+Wl", "1")),
        ("mlut_18.dcm", ("+Wm",)),
        ("Fake_MONOHR1.dcm", ()),
    ],
)
def test_real_files_agree_with_dcmtk(
    dcmtk: None, data_dir: Path, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    data = (data_dir / "dicom" / name).read_bytes()
    if name == "RG1_J2KI.dcm":
        # dcmtk decodes no JPEG 2000: gdcm unpacks it first.
        unpacked = tmp_path / "unpacked.dcm"
        source = data_dir / "dicom" / name
        subprocess.run(["gdcmconv", "--raw", str(source), str(unpacked)], check=True)
        theirs = by_dcmtk(unpacked.read_bytes(), tmp_path, "+Wi", "1")
    else:
        theirs = by_dcmtk(data, tmp_path, *options)
    assert np.abs(read(data).pixels.astype(int) - theirs).max() <= 1


def test_a_voi_lut_replaces_the_window() -> None:
    table = [65535 - 16 * i for i in range(4096)]
    both = dicom(VALUES, VOILUTSequence=[lut(table)], WindowCenter=10, WindowWidth=5)
    assert np.array_equal(shown(both), shown(dicom(VALUES, VOILUTSequence=[lut(table)])))


def test_an_eight_bit_lut_packed_in_words_is_read() -> None:
    table = [min(255, i // 8) for i in range(4096)]
    narrow = shown(dicom(VALUES, VOILUTSequence=[lut(table, bits=8)]))
    wide = shown(dicom(VALUES, VOILUTSequence=[lut([257 * entry for entry in table])]))
    assert np.array_equal(narrow, wide)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0.5 - 0.5 / 199 * 0 + 0.0025, 1]),
        ("LINEAR_EXACT", [0, 0.5, 1]),
        ("SIGMOID", [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2))]),
    ],
)
def test_each_voi_function_has_its_formula(function: str, expected: list[float]) -> None:
    values = np.array([[100, 200, 300]] * 8, np.uint16)
    dataset = dicom(values, WindowCenter=200, WindowWidth=200, VOILUTFunction=function)
    assert shown(dataset)[0] == pytest.approx(np.array(expected) * 255, abs=1)


def test_monochrome1_is_inverted_once_and_after_the_window() -> None:
    window: dict[str, Any] = {"WindowCenter": 1000, "WindowWidth": 800}
    plain = shown(dicom(VALUES, **window))
    inverted: list[dict[str, Any]] = [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "INVERSE"},
    ]
    for elements in inverted:
        assert np.abs(shown(dicom(VALUES, **window, **elements)) - (255 - plain)).max() <= 1


def test_signed_pixels_are_signed() -> None:
    values = VALUES.astype(np.int16) - 2000
    signed = dicom(values, bits=16, signed=True, WindowCenter=0, WindowWidth=4000)
    moved = dicom(VALUES, WindowCenter=2000, WindowWidth=4000)
    assert np.array_equal(shown(signed), shown(moved))


def test_twelve_signed_bits_in_sixteen_keep_their_sign() -> None:
    values = VALUES.astype(np.int16) - 2048
    stored = values.astype(np.uint16) & 0x0FFF
    narrow = dicom(stored, WindowCenter=0, WindowWidth=3000, PixelRepresentation=1)
    wide = dicom(values, bits=16, signed=True, WindowCenter=0, WindowWidth=3000)
    assert np.array_equal(shown(narrow), shown(wide))


def test_an_overlay_in_the_unused_bits_is_not_seen() -> None:
    with_overlay = VALUES | (np.indices(VALUES.shape).sum(axis=0) % 2 << 15).astype(np.uint16)
    assert np.array_equal(shown(dicom(with_overlay)), shown(dicom(VALUES)))


def test_bits_stored_at_the_top_of_the_word_are_found() -> None:
    high = dicom(VALUES << 4, HighBit=15, BitsStored=12)
    assert np.array_equal(shown(high), shown(dicom(VALUES)))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_every_depth_uses_the_whole_grey_scale(bits: int) -> None:
    seen = shown(dicom(ramp(bits), bits=bits))
    assert (seen.min(), seen.max()) == (0, 255)
    assert np.abs(seen - shown(dicom(ramp(16), bits=16))).max() <= 1


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    values = (ramp(8) // 2 + 40).astype(np.uint8)
    assert np.array_equal(shown(dicom(values, bits=8)), values)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_disturb_the_grey_scale(photometric: str) -> None:
    padded, inside = VALUES.copy() // 2 + 500, np.zeros(VALUES.shape, bool)
    inside[10:80, 10:110] = True
    padded[~inside] = 4000
    elements: dict[str, Any] = {"PhotometricInterpretation": photometric}
    seen = shown(dicom(padded, PixelPaddingValue=4000, **elements))
    cut = shown(dicom(padded[10:80, 10:110], **elements))
    assert (seen[~inside] == 0).all()
    assert np.array_equal(seen[10:80, 10:110], cut)


def test_a_padding_range_is_padding_throughout() -> None:
    padded = VALUES // 2
    padded[:20] = np.linspace(3900, 4000, 128).astype(np.uint16)
    ranged = dicom(padded, PixelPaddingValue=3900, PixelPaddingRangeLimit=4000)
    assert (shown(ranged)[:20] == 0).all()


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelAspectRatio": [2, 1]},
        {"PixelSpacing": [0.4, 0.2]},
        {"ImagerPixelSpacing": [0.4, 0.2]},
    ],
)
def test_pixels_that_are_not_square_are_made_so(elements: dict[str, Any]) -> None:
    tall = read(dicom(VALUES, **elements))
    assert tall.pixels.shape == (192, 128)
    assert (tall.width, tall.height) == (128, 96)


def test_colour_is_read_as_grey_and_remembered() -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, :32] = (200, 30, 30)
    colours[:, 32:] = (90, 90, 90)
    radiograph = read(dicom(colours, bits=8, Modality="SC"))
    assert radiograph.pixels[0, 40] == 90
    assert radiograph.pixels[0, 0] == round(0.299 * 200 + 0.587 * 30 + 0.114 * 30)
    assert radiograph.facts.saturation == pytest.approx(170 / 255 / 2, abs=0.01)


def test_a_palette_is_applied() -> None:
    indexes = np.tile(np.arange(128, dtype=np.uint8), (64, 1))
    dataset = dicom(indexes, bits=8, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [128, 0, 16])
        table = (np.arange(128, dtype="<u2") * 512).tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    assert np.abs(read(dataset).pixels[0].astype(int) - np.arange(128) * 2).max() <= 1
