"""The gate's promises on real films, on a sample of 600 drawn with seed 20261121."""

from __future__ import annotations

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph
from cxrserve.radiograph.reader import read_radiograph

pytestmark = pytest.mark.data

_PACKAGE = Path(__file__).resolve().parents[2] / "models" / "gate"
_SEED, _SAMPLE = 20261121, 600

Grey = NDArray[np.uint8]
Change = Callable[[Grey], Grey]


@pytest.fixture(scope="module")
def gate() -> QualityGate:
    return QualityGate(load_gate_network(_PACKAGE))


@pytest.fixture(scope="module")
def rows(data_dir: Path) -> list[dict[str, str]]:
    """Half from patients that training never saw, half from all; sources come as they are."""
    with (data_dir / "manifest.csv").open(newline="", encoding="utf-8") as file:
        every = list(csv.DictReader(file))
    shuffled = [every[place] for place in np.random.default_rng(_SEED).permutation(len(every))]
    test = [row for row in shuffled if row["split"] == "test"][: _SAMPLE // 2]
    return test + [row for row in shuffled if row not in test][: _SAMPLE - len(test)]


@pytest.fixture(scope="module")
def films(data_dir: Path, rows: list[dict[str, str]]) -> list[Radiograph]:
    with ThreadPoolExecutor(2) as threads:
        return list(
            threads.map(lambda row: read_radiograph((data_dir / row["file"]).read_bytes()), rows)
        )


def test_chest_films_are_answered(gate: QualityGate, films: list[Radiograph]) -> None:
    assert len(films) == _SAMPLE
    answered = [not any(remark.refuses for remark in gate.inspect(film)) for film in films]
    assert np.mean(answered) >= 0.99


def test_chest_films_rarely_get_a_warning(gate: QualityGate, films: list[Radiograph]) -> None:
    assert np.mean([not gate.inspect(film) for film in films]) >= 0.97


@pytest.mark.parametrize("task", ["nih14", "pneumonia", "tb", "covid", "lungs"])
def test_no_source_is_refused_more_than_others(
    gate: QualityGate, data_dir: Path, task: str
) -> None:
    rng = np.random.default_rng(_SEED)
    files = sorted((data_dir / task).glob("*.jpg"))
    some = [files[place] for place in rng.permutation(len(files))[:160]]
    refused = [
        any(remark.refuses for remark in gate.inspect(read_radiograph(file.read_bytes())))
        for file in some
    ]
    assert np.mean(refused) <= 0.015


_CHANGES: dict[str, tuple[Change, str, float]] = {
    "turned by 90°": (lambda film: np.rot90(film, -1), "rotated", 0.99),
    "turned by 180°": (lambda film: np.rot90(film, 2), "rotated", 0.99),
    "turned by 270°": (lambda film: np.rot90(film, 1), "rotated", 0.99),
    "inverted": (lambda film: 255 - film, "inverted", 0.97),
}


@pytest.mark.parametrize(("change", "code", "share"), _CHANGES.values(), ids=_CHANGES)
def test_a_changed_film_is_remarked(
    gate: QualityGate, films: list[Radiograph], change: Change, code: str, share: float
) -> None:
    remarked = [
        code in [remark.code for remark in gate.inspect(_bare(change(film.pixels)))]
        for film in films[:300]
    ]
    assert np.mean(remarked) >= share


@pytest.mark.parametrize("name", ["half", "lower_third"])
def test_a_film_cut_to_a_part_of_the_chest_is_mostly_refused(
    gate: QualityGate, films: list[Radiograph], name: str
) -> None:
    def part(film: Grey) -> Grey:
        height, width = film.shape
        return film[:, : width // 2] if name == "half" else film[int(0.66 * height) :]

    refused = [
        any(remark.refuses for remark in gate.inspect(_bare(part(film.pixels))))
        for film in films[:150]
    ]
    assert np.mean(refused) >= 0.75


def test_every_original_and_every_dicom_chest_is_answered(
    gate: QualityGate, data_dir: Path
) -> None:
    files = sorted((data_dir / "originals").iterdir())
    files += [path for path in sorted((data_dir / "dicom").iterdir()) if _is_chest(path)]
    assert len(files) >= 39
    for file in files:
        remarks = gate.inspect(read_radiograph(file.read_bytes()))
        assert not any(remark.refuses for remark in remarks), (file.name, remarks)


@pytest.mark.parametrize("name", ["RG3_J2KI.dcm", "RG3_J2KR.dcm", "mlut_18.dcm", "vlut_04.dcm"])
@pytest.mark.parametrize("header", ["as sent", "withheld"])
def test_extremity_and_test_patterns_are_refused(
    gate: QualityGate, data_dir: Path, name: str, header: str
) -> None:
    radiograph = read_radiograph((data_dir / "dicom" / name).read_bytes())
    if header == "withheld":
        radiograph = _bare(radiograph.pixels)
    codes = {remark.code for remark in gate.inspect(radiograph) if remark.refuses}
    assert codes & {"not_a_radiograph", "not_a_chest"}


def test_the_film_whose_header_was_edited_is_remarked_as_inverted(
    gate: QualityGate, data_dir: Path
) -> None:
    edited = read_radiograph((data_dir / "dicom" / "Fake_MONOHR1.dcm").read_bytes())
    assert "inverted" in [remark.code for remark in gate.inspect(edited)]


def _is_chest(path: Path) -> bool:
    return not path.name.startswith(("RG3_", "mlut_", "vlut_", "Fake_"))


def _bare(pixels: Grey) -> Radiograph:
    """Only pixels; four times their size, for the films here are kept smaller than sent."""
    height, width = pixels.shape
    return Radiograph(
        pixels=np.ascontiguousarray(pixels),
        format=ImageFormat.PNG,
        width=4 * width,
        height=4 * height,
    )
