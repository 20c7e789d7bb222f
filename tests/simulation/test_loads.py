"""Loads are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.simulation.loads import day, noise, ramp, spike, steady


def test_a_spike_has_its_height_and_its_length() -> None:
    load = spike(20.0, 5.0, before_s=100.0, lasts_s=60.0, after_s=100.0)
    times = load.times(np.random.default_rng(1))
    inside = (times >= 100) & (times < 160)
    assert inside.sum() / 60 == pytest.approx(100.0, rel=0.05)
    assert (~inside).sum() / 200 == pytest.approx(20.0, rel=0.05)
    assert load.judged == (100.0, 160.0)
    assert load.lasts_s == 260.0


def test_a_ramp_ends_where_it_is_held() -> None:
    load = ramp(10.0, 4.0, before_s=10.0, rises_s=40.0, holds_s=10.0)
    assert load.rates.max() == pytest.approx(40.0)
    assert np.all(np.diff(load.rates) >= 0)


def test_a_day_and_noise_have_their_mean() -> None:
    assert day(30.0).rates.mean() == pytest.approx(30.0)
    many = [noise(30.0, rng=np.random.default_rng(seed)).rates.mean() for seed in range(20)]
    assert np.mean(many) == pytest.approx(30.0, rel=0.05)


def test_burstiness_is_that_of_the_gaps() -> None:
    load = steady(50.0, before_s=0.0, lasts_s=400.0)
    gaps = np.diff(load.times(np.random.default_rng(1), cv=2.0))
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(2.0, rel=0.1)
    assert np.mean(gaps) == pytest.approx(0.02, rel=0.1)
