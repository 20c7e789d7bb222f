"""Figures of merit of a classifier on films it never saw, each with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from cxrserve.findings.interpret import probabilities
from cxrserve.models.manifest import Calibration, Interval, Metric
from cxrserve.training import metrics
from cxrserve.training.baseline import thumbnail_scores
from cxrserve.training.datasets import Examples, Film, UnusableData
from cxrserve.training.evaluation import ALL
from cxrserve.training.metrics import Floats, Truth
from cxrserve.training.recipe import Contrast, Recipe

# A group with fewer films is not reported: its interval would fill the whole range.
_SMALLEST_GROUP = 20
_AGE_BANDS = ((0, 12, "under 12 years"), (12, 18, "12-17 years"), (18, 65, "18-64 years"))

Thresholds = dict[str, dict[str, float]]


class Measured:
    """One split as a network reads it.

    Attributes:
        examples: the films.
        logits: `[n, K]`.
        probability: calibrated, `[n, K]`.
        uncalibrated: `[n, K]`.
    """

    def __init__(
        self, recipe: Recipe, examples: Examples, logits: Floats, calibration: Calibration
    ) -> None:
        self.recipe, self.examples, self.logits = recipe, examples, logits
        self._calibration = calibration
        activation = "softmax" if recipe.task == "multi-class" else "sigmoid"
        # A class that was not trained is not answered; its logit must not take a share either.
        self._trained = [i for i, label in enumerate(recipe.labels) if label.trained]
        exact = np.where(self._columns(), logits, -np.inf if activation == "softmax" else 0)
        self.probability = probabilities(exact, activation, calibration)
        self.uncalibrated = probabilities(exact, activation, Calibration())

    def having(self, chosen: Truth) -> Measured:
        """The same of some of the films, bool `[n]`."""
        return Measured(
            self.recipe, self.examples.having(chosen), self.logits[chosen], self._calibration
        )

    def truth(self, label: int) -> Truth:
        """Which films have the label, bool `[n]`."""
        return np.asarray(self.examples.targets[:, label] == 1)

    def known(self, label: int) -> Truth:
        """Of which films it is known, bool `[n]`."""
        return np.asarray(~np.isnan(self.examples.targets[:, label]))

    def interval(
        self, statistic: metrics.Statistic, *, resamples: int = metrics.RESAMPLES
    ) -> Interval:
        """A figure of all films of the split with its interval by patient."""
        return metrics.interval(
            statistic, self.examples.patients, seed=self.recipe.seed, resamples=resamples
        )

    def shared(self, chosen: Truth, among: Truth) -> Interval:
        """A share with its interval by patient."""
        return metrics.interval_of_share(
            chosen, among, self.examples.patients, seed=self.recipe.seed
        )

    def _columns(self) -> Truth:
        return np.isin(np.arange(len(self.recipe.labels)), self._trained)


def figures(measured: Measured, thresholds: Thresholds) -> Iterator[Metric]:
    """Figures of each finding on the test split, and their means."""
    recipe = measured.recipe
    counted = [label for label in recipe.findings if _measurable(measured, label)]
    for label in counted:
        name, truth, p = recipe.names[label], measured.truth(label), measured.probability[:, label]
        say, curve = partial(_metric, label=name, images=len(truth)), metrics.Curve(truth, p)
        yield say("auc", measured.interval(curve.auc))
        yield say("average_precision", measured.interval(curve.average_precision))
        yield say("positives", Interval(value=float(truth.sum()), low=0, high=len(truth)))
        for point, of_label in thresholds.items():
            if name in of_label:
                positive = p >= of_label[name]
                yield say("sensitivity", measured.shared(positive, truth), point=point)
                yield say("specificity", measured.shared(~positive, ~truth), point=point)
    yield _metric("auc", measured.interval(_mean_auc(measured, counted)),
                  label=ALL, images=len(measured.examples.films))  # fmt: skip
    for name, p in (("ece_uncalibrated", measured.uncalibrated), ("ece", measured.probability)):
        value = measured.interval(partial(_mean_calibration_error, measured, counted, p))
        yield _metric(name, value, label=ALL, images=len(p))


def groups(measured: Measured) -> Iterator[Metric]:
    """Mean AUC over the findings within each view, sex, age band and source."""
    films = measured.examples.films
    kinds: tuple[tuple[str, Sequence[str]], ...] = (
        ("view", [film.view for film in films]),
        ("sex", [film.sex for film in films]),
        ("age", [_age_band(film) for film in films]),
        ("source", [film.source for film in films]),
    )
    for kind, values in kinds:
        for value in sorted(set(values) - {""}):
            chosen = np.array([one == value for one in values])
            if chosen.sum() < _SMALLEST_GROUP or chosen.all():
                continue
            within = measured.having(chosen)
            counted = [label for label in measured.recipe.findings if _measurable(within, label)]
            if counted:
                found = within.interval(_mean_auc(within, counted), resamples=300)
                yield _metric(
                    "auc", found, label=ALL, images=int(chosen.sum()),
                    split=f"test, {kind} {value} ({len(counted)} findings)",
                )  # fmt: skip


def contrast(measured: Measured, wanted: Contrast) -> Metric:
    """Some labels against others among the films of one source."""
    recipe = measured.recipe
    positive = [recipe.names.index(name) for name in wanted.positive]
    negative = [recipe.names.index(name) for name in wanted.negative]
    ill = (measured.examples.targets[:, positive] == 1).any(axis=1)
    well = (measured.examples.targets[:, negative] == 1).any(axis=1)
    chosen = np.array([film.task == wanted.task for film in measured.examples.films])
    chosen &= ill | well
    odds = special.logsumexp(measured.logits[:, positive], axis=1)
    odds = odds - special.logsumexp(measured.logits[:, negative], axis=1)
    found = metrics.interval(
        metrics.Curve(ill[chosen], odds[chosen]).auc,
        [film.patient for film in measured.examples.having(chosen).films],
        seed=recipe.seed,
    )
    return _metric(
        "auc", found, label=wanted.name, images=int(chosen.sum()), split=f"test, {wanted.task}"
    )


def thumbnail(measured: Measured, train: Examples) -> Metric:
    """The mean AUC of linear models of thumbnails, which the network's has to be read against."""
    counted = [label for label in measured.recipe.findings if _measurable(measured, label)]
    scores = np.zeros_like(measured.probability)
    for label in counted:
        scores[:, label] = thumbnail_scores(train, measured.examples, label=label)

    mean = _mean_of([metrics.Curve(measured.truth(k), scores[:, k]) for k in counted])
    return _metric("auc_of_a_thumbnail", measured.interval(mean), label=ALL, images=len(scores))


def called_positive(
    recipe: Recipe, probability: Floats, films: Sequence[Film], thresholds: Thresholds, *, name: str
) -> Metric:
    """What share of films without a finding, from another source, is called any finding."""
    point = recipe.default_operating_point
    if point is None:
        raise UnusableData(f"{recipe.name} has no default operating point")
    positive = np.zeros(len(films), np.bool_)
    for label, threshold in thresholds[point].items():
        positive |= probability[:, recipe.names.index(label)] >= threshold
    found = metrics.interval_of_share(
        positive, np.ones(len(films), np.bool_), [film.patient for film in films], seed=recipe.seed
    )
    return _metric("called_positive", found, label=ALL, images=len(films), split=name, point=point)


def chosen_thresholds(measured: Measured) -> Thresholds:
    """Thresholds of every operating point, from the validation split; labels without a film there
    that has them, or has not, get none."""
    recipe = measured.recipe
    return {
        name: {
            recipe.names[label]: round(
                metrics.threshold_of(point, measured.truth(label), measured.probability[:, label]),
                6,
            )
            for label in recipe.findings
            if _measurable(measured, label)
        }
        for name, point in recipe.operating_points.items()
    }


def _metric(
    name: str,
    interval: Interval,
    *,
    label: str,
    images: int,
    split: str = "test",
    point: str | None = None,
) -> Metric:
    return Metric(
        name=name, label=label, split=split, interval=interval, images=images,
        operating_point=point,
    )  # fmt: skip


def _measurable(measured: Measured, label: int) -> bool:
    truth = measured.truth(label)
    return bool(truth.any() and not truth.all() and measured.known(label).all())


def _mean_auc(measured: Measured, labels: Sequence[int]) -> metrics.Statistic:
    return _mean_of([metrics.Curve(measured.truth(k), measured.probability[:, k]) for k in labels])


def _mean_of(curves: Sequence[metrics.Curve]) -> metrics.Statistic:
    """NaN only where no curve has an area: a draw may miss a rare finding altogether."""

    def mean(weights: Floats) -> float:
        each = np.array([curve.auc(weights) for curve in curves])
        return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")

    return mean


def _mean_calibration_error(
    measured: Measured, labels: Sequence[int], probability: Floats, weights: Floats
) -> float:
    return float(
        np.mean(
            [
                metrics.calibration_error(measured.truth(k), probability[:, k], weights)
                for k in labels
            ]
        )
    )


def _age_band(film: Film) -> str:
    if film.age_years is None:
        return ""
    for low, high, name in _AGE_BANDS:
        if low <= film.age_years < high:
            return name
    return "65 years and over"
