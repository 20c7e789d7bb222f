"""Figures, thresholds and intervals mean what the card says they mean."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.training import metrics
from cxrserve.training.recipe import OperatingPoint


def made_up(seed: int, *, apart: float, films: int = 400) -> tuple[metrics.Truth, metrics.Floats]:
    draws = np.random.default_rng(seed)
    truth = np.arange(films) % 3 > 0
    return truth, 1 / (1 + np.exp(-draws.normal(np.where(truth, apart, -apart), 1.0)))


@given(st.integers(0, 10_000), st.floats(0.0, 4.0))
def test_operating_points_keep_their_promise_and_their_order(seed: int, apart: float) -> None:
    truth, probability = made_up(seed, apart=apart)
    screening, balanced, rule_in = (
        metrics.threshold_of(point, truth, probability)
        for point in (
            OperatingPoint(rule="sensitivity", at_least=0.9),
            OperatingPoint(rule="youden"),
            OperatingPoint(rule="specificity", at_least=0.95),
        )
    )
    assert screening <= balanced <= rule_in
    assert metrics.share(probability >= screening, truth) >= 0.9
    assert metrics.share(probability < rule_in, ~truth) >= 0.95


def test_temperature_finds_back_the_overconfidence_that_was_put_in() -> None:
    draws = np.random.default_rng(2)
    logits = draws.normal(0, 1.5, (20_000, 2))
    chance = metrics.probabilities(logits, 1.0)[:, 1]
    targets = (draws.random(20_000) < chance).astype(np.int64)
    assert metrics.fitted_temperature(3 * logits, targets) == pytest.approx(3.0, rel=0.05)


def test_a_calibrated_forecast_has_next_to_no_calibration_error() -> None:
    draws = np.random.default_rng(3)
    probability = draws.random(50_000)
    truth = draws.random(50_000) < probability
    assert metrics.calibration_error(truth, probability) < 0.01
    assert metrics.calibration_error(truth, np.ones(50_000)) == pytest.approx(0.5, abs=0.01)


def test_films_of_one_patient_widen_the_interval() -> None:
    truth, probability = made_up(4, apart=0.8)
    copies = 8
    statistic = partial(metrics.auc, np.repeat(truth, copies), np.repeat(probability, copies))
    films = [f"film-{i}" for i in range(len(truth) * copies)]
    patients = [f"patient-{i // copies}" for i in range(len(truth) * copies)]
    naive = metrics.interval(statistic, films, seed=0, resamples=200)
    honest = metrics.interval(statistic, patients, seed=0, resamples=200)
    assert naive.value == honest.value
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_a_faultless_test_split_is_no_certainty() -> None:
    well = np.ones(60, np.bool_)
    patients = [f"patient-{i // 2}" for i in range(60)]
    found = metrics.interval_of_share(well, well, patients, seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    # Clopper & Pearson: 30 of 30 patients, two-sided 95 %.
    assert found.low == pytest.approx(0.8843, abs=1e-4)
