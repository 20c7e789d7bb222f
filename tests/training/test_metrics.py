"""Figures, thresholds and intervals mean what the card says they mean."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrserve.findings.interpret import probabilities
from cxrserve.models.manifest import Calibration
from cxrserve.training import calibrate, metrics
from cxrserve.training.recipe import OperatingPoint, Recipe, read_recipe


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
    chance = probabilities(logits.astype(np.float32), "softmax", Calibration())[:, 1]
    targets = (draws.random(20_000) < chance).astype(np.int64)
    assert calibrate.fitted_temperature(3 * logits, targets) == pytest.approx(3.0, rel=0.05)


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


@given(st.integers(0, 10_000), st.floats(0.0, 2.0), st.integers(1, 3))
def test_areas_are_those_of_scikit_learn_with_any_weights(
    seed: int, apart: float, decimals: int
) -> None:
    truth, probability = made_up(seed, apart=apart, films=60)
    score = probability.round(decimals)  # ties
    weights = np.random.default_rng(seed).integers(0, 4, len(truth)).astype(float)
    wanted = roc_auc_score(truth, score, sample_weight=weights)
    assert metrics.auc(truth, score, weights) == pytest.approx(wanted, abs=1e-12)
    wanted = average_precision_score(truth, score, sample_weight=weights)
    assert metrics.average_precision(truth, score, weights) == pytest.approx(wanted, abs=1e-12)


def test_an_area_without_one_of_the_sides_is_no_number() -> None:
    truth, score = np.array([True, False]), np.array([0.3, 0.6])
    assert np.isnan(metrics.auc(truth, score, np.array([1.0, 0.0])))
    assert np.isnan(metrics.average_precision(truth, score, np.array([0.0, 1.0])))


def test_each_finding_gets_back_the_share_of_films_that_has_it() -> None:
    recipe = read_recipe("nih14-mobilenetv2")
    draws = np.random.default_rng(9)
    odds = draws.normal(-2, 1.5, (4000, 14))
    targets = (draws.random((4000, 14)) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    # A weighted loss shifts the logits up, and a sure network spreads them.
    found = calibrate.fitted(recipe, (2 * odds + 3).astype(np.float32), targets)
    assert found.method == "platt"
    calibrated = probabilities((2 * odds + 3).astype(np.float32), "sigmoid", found)
    assert calibrated.mean(axis=0) == pytest.approx(targets.mean(axis=0), abs=0.01)
    assert found.scales == pytest.approx([0.5] * 14, abs=0.06)


def test_a_finding_seen_in_two_films_still_gets_a_calibration() -> None:
    recipe = read_recipe("nih14-mobilenetv2")
    targets = np.zeros((100, 14), np.float32)
    targets[:2] = 1
    found = calibrate.fitted(recipe, np.full((100, 14), 2.0, np.float32), targets)
    said = probabilities(np.full((1, 14), 2.0, np.float32), "sigmoid", found)
    assert said == pytest.approx(3 / 102, abs=1e-3)


def test_a_class_is_held_against_all_the_others() -> None:
    recipe: Recipe = read_recipe("tb-mobilenetv2")
    logits = np.array([[0.0, 1.0, 2.0]])
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert metrics.log_odds(recipe, logits) == pytest.approx(np.log(softmax / (1 - softmax)))


def test_dice_of_known_masks() -> None:
    one, other = np.zeros((2, 8, 8), np.bool_)
    one[:4], other[2:6] = True, True
    assert metrics.dice(one, other) == pytest.approx(0.5)
    assert metrics.dice(one, one) == 1
    assert metrics.dice(np.zeros_like(one), np.zeros_like(one)) == 1
