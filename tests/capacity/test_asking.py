"""What an operator writes is understood, or refused in words that help."""

from __future__ import annotations

import pytest

from cxrserve.batching.line import Priority
from cxrserve.capacity.asking import mix_of, rate_of, time_of


@pytest.mark.parametrize(
    ("written", "rate"),
    [("200/s", 200), ("12000/min", 200), ("720000/h", 200), ("1e6/h", 1e6 / 3600), ("864/d", 0.01)],
)
def test_rates_are_read(written: str, rate: float) -> None:
    assert rate_of(written) == pytest.approx(rate)


@pytest.mark.parametrize("written", ["200", "0/s", "-1/s", "many/s", "200/week", "/s"])
def test_what_is_no_rate_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        rate_of(written)


def test_times_are_read() -> None:
    assert [time_of(one) for one in ("300ms", "5s", "1.5 min", "0s")] == [0.3, 5, 90, 0]
    for wrong in ("300", "ms", "5 h", "-5s"):
        with pytest.raises(ValueError, match="is no time"):
            time_of(wrong)


def test_a_mix_is_of_three_classes_and_whole() -> None:
    assert mix_of("0.5,0.25,0.25")[Priority.STAT] == 0.5
    for wrong in ("1,0", "0.5,0.5,0.5", "a,b,c", "1.5,-0.25,-0.25", ""):
        with pytest.raises(ValueError, match="is no mix"):
            mix_of(wrong)
