"""Figures of merit of one finding, their intervals, calibration and thresholds.

Probabilities are of the finding, float64 `[n]`; `truth` is bool `[n]`. A film is called positive
where its probability is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score

from cxrserve.models.manifest import Interval
from cxrserve.training.datasets import UnusableData
from cxrserve.training.recipe import OperatingPoint

Floats = NDArray[np.floating]
Truth = NDArray[np.bool_]
Statistic = Callable[[Floats], float]

RESAMPLES = 2000


def probabilities(logits: Floats, temperature: float) -> Floats:
    """softmax(logits / temperature), `[n, K]`."""
    scaled: Floats = special.softmax(logits.astype(np.float64) / temperature, axis=1)
    return scaled


def fitted_temperature(logits: Floats, targets: NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood (Guo et al. 2017, section 4.2)."""
    exact = logits.astype(np.float64)

    def nll(log_temperature: float) -> float:
        scaled = exact / np.exp(log_temperature)
        return float(
            np.mean(special.logsumexp(scaled, axis=1) - scaled[np.arange(len(targets)), targets])
        )

    found = optimize.minimize_scalar(nll, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


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
    """Area under the receiver operating characteristic curve."""
    return float(roc_auc_score(truth, probability, sample_weight=weights))


def share(chosen: Truth, among: Truth, weights: Floats | None = None) -> float:
    """Share of `among` that is `chosen`: sensitivity among the ill, false alarms among the well."""
    weights = np.ones(len(among)) if weights is None else weights
    return float((weights * (chosen & among)).sum() / (weights * among).sum())


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
    # A draw without one of the classes has no figure; among hundreds of patients there is none.
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
