"""What the gate says from facts and from grey levels alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.radiograph.gate import GateLimits, QualityGate, ReasonCode
from cxrserve.radiograph.gate_rules import RULES, contrast
from cxrserve.radiograph.radiograph import AgeBand, Facts, ImageFormat, Radiograph

_RAMP = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))


def _radiograph(
    pixels: NDArray[np.uint8] = _RAMP, *, size: tuple[int, int] = (1024, 1024), **facts: Any
) -> Radiograph:
    return Radiograph(
        pixels=pixels,
        format=ImageFormat.PNG,
        width=size[0],
        height=size[1],
        facts=Facts(**facts),
    )


def _codes(radiograph: Radiograph, limits: GateLimits | None = None) -> list[str]:
    return [remark.code for remark in QualityGate(None, limits).inspect(radiograph)]


def test_an_ordinary_film_gets_no_remark() -> None:
    plain = _radiograph(view="PA", modality="DX", body_part="CHEST", age_band=AgeBand.ADULT)
    assert _codes(plain) == []


@pytest.mark.parametrize(
    ("size", "codes"),
    [
        ((127, 900), ["not_a_chest", "too_small"]),
        ((128, 128), []),
        ((1000, 127), ["not_a_chest", "too_small"]),
        ((127, 200), ["too_small"]),
        ((1000, 2501), ["not_a_chest"]),
        ((1000, 2500), []),
    ],
)
def test_size_and_shape_are_those_the_file_declares(
    size: tuple[int, int], codes: list[str]
) -> None:
    assert _codes(_radiograph(size=size)) == codes


@pytest.mark.parametrize("level", [0, 120, 255])
def test_a_blank_detector_is_refused_whatever_its_level(level: int) -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(rng.normal(level, 1.5, (300, 300)), 0, 255).astype(np.uint8)
    assert _codes(_radiograph(noisy)) == ["blank"]


def test_a_marker_does_not_make_a_blank_film_an_image() -> None:
    film = np.full((400, 400), 30, np.uint8)
    film[5:25, 5:25] = 255
    assert _codes(_radiograph(film)) == ["blank"]


def test_a_flat_film_is_warned_of_and_answered() -> None:
    assert _codes(_radiograph((_RAMP // 4 + 90).astype(np.uint8))) == ["low_contrast"]


@pytest.mark.parametrize(
    ("saturation", "code"), [(0.5, "not_a_radiograph"), (0.15, "coloured"), (0.01, None)]
)
def test_colour_makes_a_photograph_and_a_tint_makes_doubt(
    saturation: float, code: str | None
) -> None:
    assert _codes(_radiograph(colour=True, saturation=saturation)) == ([code] if code else [])


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "nm "])
def test_other_modalities_are_no_radiographs(modality: str) -> None:
    assert _codes(_radiograph(modality=modality)) == ["not_a_radiograph"]


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RF", "XA", "SC", "OT", "cr", "", None])
def test_radiography_and_silence_pass(modality: str | None) -> None:
    assert _codes(_radiograph(modality=modality)) == []


@pytest.mark.parametrize("part", ["HAND", "foot", "KNEE ", "C-SPINE", "LOWER EXTREMITY", "SKULL"])
def test_another_body_part_is_refused(part: str) -> None:
    assert _codes(_radiograph(body_part=part)) == ["not_a_chest"]


@pytest.mark.parametrize("part", ["CHEST", "THORAX", "LUNG", "RIB", "CHEST ABDOMEN", "", "X", None])
def test_a_chest_or_an_unknown_word_passes(part: str | None) -> None:
    assert _codes(_radiograph(body_part=part)) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"view": "LL"}, "lateral_view"),
        ({"view": "RL"}, "lateral_view"),
        ({"view": "lateral"}, "lateral_view"),
        ({"view": "LLD"}, "unusual_view"),
        ({"view": "RAO"}, "unusual_view"),
        ({"age_band": AgeBand.CHILD}, "paediatric"),
        ({"age_band": AgeBand.ADOLESCENT}, "paediatric"),
        ({"phantom": True}, "phantom"),
    ],
)
def test_what_makes_a_reading_doubtful_warns_and_does_not_refuse(
    facts: dict[str, Any], code: str
) -> None:
    (remark,) = QualityGate(None).inspect(_radiograph(**facts))
    assert remark.code == code
    assert not remark.refuses


def test_every_limit_can_be_set() -> None:
    assert _codes(_radiograph(size=(500, 500)), GateLimits(shorter_side=501)) == ["too_small"]
    assert _codes(_radiograph(size=(300, 200)), GateLimits(aspect=1.4)) == ["not_a_chest"]
    assert _codes(_radiograph(), GateLimits(low_contrast_range=256)) == ["low_contrast"]
    assert _codes(_radiograph(), GateLimits(blank_range=256)) == ["blank"]


_FACTS = st.builds(
    Facts,
    view=st.sampled_from([None, "PA", "LL", "LLD", "?"]),
    age_band=st.sampled_from([None, *AgeBand]),
    modality=st.sampled_from([None, "DX", "CT", ""]),
    body_part=st.sampled_from([None, "CHEST", "HAND", "\u00e9"]),
    colour=st.booleans(),
    saturation=st.floats(0, 1),
    phantom=st.booleans(),
)
_SEEN = st.dictionaries(
    st.sampled_from(["not_a_chest", "not_a_radiograph", "rotated_90", "inverted", "phantom"]),
    st.floats(0, 1),
)


@given(facts=_FACTS, seen=_SEEN, sides=st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_refusals_come_first_and_no_code_comes_twice(
    facts: Facts, seen: dict[str, float], sides: tuple[int, int]
) -> None:
    radiograph = dataclasses.replace(_radiograph(size=sides), facts=facts)
    gate = QualityGate(_Seer(seen))
    remarks = gate.inspect(radiograph)
    assert remarks == gate.inspect(radiograph)
    refusals = [remark.refuses for remark in remarks]
    assert refusals == sorted(refusals, reverse=True)
    assert len({remark.code for remark in remarks}) == len(remarks)
    assert all(ReasonCode(remark.code).refuses == remark.refuses for remark in remarks)


def test_no_detail_quotes_what_a_file_says_about_a_patient() -> None:
    said = _radiograph(body_part="MEIER HAND", modality="DOE^JOHN " * 20, view="SMITH")
    details = " ".join(remark.detail for remark in QualityGate(None).inspect(said))
    assert "modality" in details
    assert not any(name in details for name in ("MEIER", "SMITH", "DOE", "JOHN"))


def test_one_odd_pixel_column_is_no_contrast() -> None:
    thin = np.full((1, 4000), 7, np.uint8)
    assert [remark.code for remark in contrast(_radiograph(thin), GateLimits())] == ["blank"]
    assert contrast in RULES


class _Seer:
    """A network that always sees the same; only the border to ONNX is replaced."""

    side = 112

    def __init__(self, seen: Mapping[str, float]) -> None:
        self._seen = seen

    def __call__(self, pixels: NDArray[np.uint8]) -> Mapping[str, float]:
        assert pixels.shape == (self.side, self.side)
        return self._seen
