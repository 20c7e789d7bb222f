"""Figures of merit of one finding, their intervals, calibration and thresholds.

Probabilities are of the finding, float64 `[n]`; `truth` is bool `[n]`. A film is called positive
where its probability is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from cxrserve.models.manifest import Interval
from cxrserve.training.datasets import UnusableData
from cxrserve.training.recipe import OperatingPoint, Recipe

Floats = NDArray[np.floating]
Truth = NDArray[np.bool_]
Statistic = Callable[[Floats], float]

RESAMPLES = 1000


def log_odds(recipe: Recipe, logits: Floats) -> Floats:
    """Of each label against all else `[n, K]`: its logit less log-sum-exp of the other classes'."""
    if recipe.task == "multi-label":
        return logits
    trained = [i for i, label in enumerate(recipe.labels) if label.trained]
    odds = np.zeros_like(logits)
    for label in trained:
        others = [other for other in trained if other != label]
        odds[:, label] = logits[:, label] - special.logsumexp(logits[:, others], axis=1)
    return odds


def mean_auc(recipe: Recipe, targets: NDArray[np.float32], logits: Floats) -> float:
    """Mean over the findings that some known film has and some has not, each against all else."""
    odds = log_odds(recipe, logits)
    found = []
    for label in recipe.findings:
        known = ~np.isnan(targets[:, label])
        truth = targets[known, label] == 1
        if truth.any() and not truth.all():
            found.append(auc(truth, odds[known, label]))
    return float(np.mean(found)) if found else float("nan")


def dice(found: Truth, truth: Truth) -> Floats:
    """Dice coefficient 2 |A ∩ B| / (|A| + |B|) of masks `[..., h, w]`; 1 where both are empty."""
    both = (found & truth).sum(axis=(-2, -1))
    sizes = found.sum(axis=(-2, -1)) + truth.sum(axis=(-2, -1))
    return np.asarray(np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1)))


def threshold_of(point: OperatingPoint, truth: Truth, probability: Floats) -> float:
    """The threshold that an operating point's rule chooses.

    A demand of x on sensitivity takes the highest threshold that meets it. A network that is better
    than that goes lower, as long as its specificity is x too, so that a screening point spends its
    surplus on missing fewer; a demand on specificity mirrors this. Youden's point stays between.
    """
    candidates, sensitivity, specificity = _curve(truth, probability)
    youden = candidates[np.argmax(sensitivity + specificity)]
    if point.rule == "youden":
        return float(youden)
    wanted = point.at_least or 0.0
    sensitive, specific = candidates[sensitivity >= wanted].max(), candidates[specificity >= wanted]
    ends = (sensitive, specific.min(), youden)
    return float(min(ends) if point.rule == "sensitivity" else max(ends))


def auc(truth: Truth, probability: Floats, weights: Floats | None = None) -> float:
    """Area under the receiver operating characteristic curve; NaN where a side has no weight."""
    return Curve(truth, probability).auc(np.ones(len(truth)) if weights is None else weights)


def average_precision(truth: Truth, probability: Floats, weights: Floats | None = None) -> float:
    """Area under the precision-recall curve, by steps; NaN where no film with it has weight."""
    weights = np.ones(len(truth)) if weights is None else weights
    return Curve(truth, probability).average_precision(weights)


class Curve:
    """Films in the order of their scores, sorted once: a bootstrap asks a thousand times.

    Both areas are what scikit-learn gives (`roc_auc_score`, `average_precision_score`), which sorts
    and checks at every call, a hundred times slower.
    """

    def __init__(self, truth: Truth, score: Floats) -> None:
        self._order = np.argsort(-score, kind="stable")
        self._truth = truth[self._order]
        ranked = score[self._order]
        # Films of one score move together: the curve has a corner after each such group.
        self._ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def auc(self, weights: Floats) -> float:
        """Area under the ROC curve, each film with its weight."""
        hits, alarms = self._counted(weights)
        if not hits[-1] or not alarms[-1]:
            return float("nan")
        area = (np.diff(alarms) * (hits[1:] + hits[:-1])).sum() / 2
        return float(area / (hits[-1] * alarms[-1]))

    def average_precision(self, weights: Floats) -> float:
        """Sum over corners of the gain in recall times the precision there."""
        hits, alarms = self._counted(weights)
        if not hits[-1]:
            return float("nan")
        precision = hits[1:] / np.maximum(hits[1:] + alarms[1:], 1e-12)
        return float((np.diff(hits) * precision).sum() / hits[-1])

    def _counted(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weight of films with the finding, and without, up to each corner, from 0."""
        ranked = weights[self._order]
        hits = np.cumsum(ranked * self._truth)[self._ends]
        alarms = np.cumsum(ranked * ~self._truth)[self._ends]
        return np.concatenate(([0.0], hits)), np.concatenate(([0.0], alarms))


def share(chosen: Truth, among: Truth, weights: Floats | None = None) -> float:
    """Share of `among` that is `chosen`: sensitivity among the ill, false alarms among the well."""
    weights = np.ones(len(among)) if weights is None else weights
    total = float((weights * among).sum())
    return float((weights * (chosen & among)).sum()) / total if total else float("nan")


def calibration_error(
    truth: Truth, probability: Floats, weights: Floats | None = None, *, bins: int = 15
) -> float:
    """Expected calibration error: sum over bins of n_b / n · |mean probability - share of ill|.

    Bins have equal width (Guo et al. 2017, eq. 3, of the finding's probability).
    """
    weights = np.ones(len(truth)) if weights is None else weights
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=weights * (probability - truth), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())


def interval(
    statistic: Statistic, patients: Sequence[str], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """A figure with its 95 % percentile bootstrap interval, patients drawn with replacement.

    Args:
        statistic: the figure, given a weight for each film (how often its patient was drawn).
        patients: the patient of each film.

    Raises:
        UnusableData: the figure does not exist, e.g. no film of a class.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient.max()) + 1
    draws = np.random.default_rng(seed)
    value = statistic(np.ones(len(patient)))
    if not np.isfinite(value):
        raise UnusableData("the split holds no film that this figure can be computed from")
    resampled = np.empty(resamples)
    for number in range(resamples):
        drawn = np.bincount(draws.integers(count, size=count), minlength=count)
        resampled[number] = statistic(drawn[patient].astype(np.float64))
    # A draw without one of the classes has no figure; it is left out.
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(value=round(value, 4), low=round(float(low), 4), high=round(float(high), 4))


def interval_of_share(
    chosen: Truth, among: Truth, patients: Sequence[str], *, seed: int
) -> Interval:
    """A share with its 95 % interval, by patient.

    Where it is 0 or 1 no draw can differ, and the bootstrap would claim certainty; then the open
    end is the exact binomial bound (Clopper & Pearson 1934) of as many trials as patients.
    """
    found = interval(partial(share, chosen, among), patients, seed=seed)
    count = len(set(np.asarray(patients)[among]))
    bound = 0.025 ** (1 / count)
    if found.value == 1:
        return found.model_copy(update={"low": round(bound, 4)})
    if found.value == 0:
        return found.model_copy(update={"high": round(1 - bound, 4)})
    return found


def _curve(truth: Truth, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """Candidate thresholds, half-way between neighbouring probabilities, with what they give."""
    seen = np.unique(probability)
    candidates = np.concatenate(([0.0], (seen[1:] + seen[:-1]) / 2, [1.0]))
    positive = probability[:, None] >= candidates[None, :]
    return candidates, positive[truth].mean(axis=0), (~positive[~truth]).mean(axis=0)
