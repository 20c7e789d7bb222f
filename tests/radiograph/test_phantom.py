"""The drawn phantom says in every way that it is no patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrserve.radiograph.phantom import draw_phantom, write_phantom
from cxrserve.radiograph.reader import read_radiograph


def test_the_same_seed_draws_the_same_phantom() -> None:
    one = draw_phantom(side=256, seed=3)
    assert one.shape == (256, 256)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, draw_phantom(side=256, seed=3))
    assert np.any(one != draw_phantom(side=256, seed=4))


def test_lungs_are_darker_than_heart_and_spine() -> None:
    drawn = draw_phantom(side=512).astype(float)
    right_lung, heart = drawn[200:300, 120:180].mean(), drawn[300:340, 260:300].mean()
    assert right_lung + 40 < heart


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".dcm"])
def test_a_written_phantom_declares_itself(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"phantom{suffix}"
    write_phantom(path, side=256, seed=5)
    read = read_radiograph(path.read_bytes())
    assert read.facts.phantom
    assert (read.width, read.height) == (256, 256)
    difference = np.abs(read.pixels.astype(int) - draw_phantom(side=256, seed=5))
    assert difference.mean() < (3 if suffix == ".jpg" else 0.001)


def test_its_dicom_holds_no_patient(tmp_path: Path) -> None:
    path = tmp_path / "phantom.dcm"
    write_phantom(path, side=256)
    dataset = pydicom.dcmread(path)
    assert str(dataset.PatientName) == "PHANTOM^NOT A PATIENT"
    assert dataset.ImageType[0] == "DERIVED"
    assert dataset.Modality == "DX"


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png, \.jpg or \.dcm"):
        write_phantom(tmp_path / "phantom.bmp")
