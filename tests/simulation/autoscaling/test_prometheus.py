"""What Prometheus makes of samples, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.simulation.autoscaling.prometheus import Readings, Scrapes, rate
from cxrserve.simulation.autoscaling.queries import Query


def readings(**known: float) -> Readings:
    nothing = dict.fromkeys(("busy_s", "demanded_s", "expected_wait_s", "waiting"), 0.0)
    return Readings(**{"processors": 2.0, "slo_s": 5.0, **nothing, **known})


@given(st.floats(0.1, 50), st.floats(1, 14), st.floats(0, 1), st.floats(100, 1000))
def test_a_steady_counter_has_its_rate(
    each_s: float, every_s: float, phase: float, begin: float
) -> None:
    now = 300.0
    times = [phase * every_s + n * every_s for n in range(400)]
    points = [(at, begin + each_s * at) for at in times if now - 30 < at <= now]
    found = rate(points, 30.0, now)
    if len(points) < 2:
        assert found is None
    else:
        assert found == pytest.approx(each_s, rel=1e-6)


def test_a_counter_that_is_younger_than_the_window_shows_less() -> None:
    # Three samples over 20 s of 60, 10 a second; half a distance is added before the first.
    points = [(100.0, 100.0), (110.0, 200.0), (120.0, 300.0)]
    assert rate(points, 60.0, 120.0) == pytest.approx(200 * (20 + 5) / 20 / 60)


def test_a_counter_is_not_followed_below_zero() -> None:
    points = [(62.0, 1.0), (70.0, 81.0)]
    # Ten a second: it was zero 0.1 s before its first sample, not 2 s.
    assert rate(points, 10.0, 70.0) == pytest.approx(80 * 8.1 / 8 / 10)


def test_one_sample_has_no_rate() -> None:
    assert rate([(5.0, 1.0)], 60.0, 10.0) is None


def test_a_query_is_as_old_as_the_last_scrape() -> None:
    scrapes = Scrapes()
    for at in range(0, 61, 10):
        scrapes.add(readings(demanded_s=6.0 * at, expected_wait_s=at / 10), float(at))
    predicted = Query("rate", "demanded_s", 30.0, "processors")
    wait = Query("max_over_time", "expected_wait_s", 30.0, "slo_s")
    assert scrapes.value(predicted, 65.0) == pytest.approx(3.0)
    assert scrapes.value(wait, 65.0) == pytest.approx(6 / 5)
    # Of what is gone from the window nothing is known.
    assert scrapes.value(wait, 95.0) is None
