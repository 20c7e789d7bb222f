"""Logits become probabilities one can believe: fitted on the validation split, and only there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from cxrserve.models.manifest import Calibration
from cxrserve.training.metrics import Floats
from cxrserve.training.recipe import Recipe

# With fewer films with a finding a slope cannot be fitted; the share of them still can.
_FEWEST = 5


def fitted(recipe: Recipe, logits: Floats, targets: NDArray[np.float32]) -> Calibration:
    """The calibration of a network: temperature of a softmax, Platt's line for each sigmoid.

    A sigmoid whose loss weighed rare findings up is too sure by a constant that no temperature
    takes back, hence Platt's scale and offset (Platt 1999).

    Args:
        logits: of the validation split `[n, K]`.
        targets: `[n, K]`, as in `Examples`.
    """
    if recipe.task == "multi-class":
        trained = [index for index, label in enumerate(recipe.labels) if label.trained]
        own = targets[:, trained].argmax(axis=1)
        return Calibration(
            method="temperature",
            temperature=round(fitted_temperature(logits[:, trained], own), 4),
        )
    lines = [_platt(logits[:, k], targets[:, k]) for k in range(logits.shape[1])]
    return Calibration(
        method="platt",
        scales=tuple(round(scale, 4) for scale, _ in lines),
        offsets=tuple(round(offset, 4) for _, offset in lines),
    )


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


def _platt(logits: Floats, targets: NDArray[np.float32]) -> tuple[float, float]:
    """Scale (never negative) and offset of one label, with a weak pull towards scale 0."""
    known = ~np.isnan(targets)
    truth, column = targets[known] == 1, logits[known].astype(np.float64)[:, None]
    if not known.any():
        return 1.0, 0.0
    if min(truth.sum(), (~truth).sum()) >= _FEWEST:
        line = LogisticRegression(C=1.0).fit(column, truth)
        if line.coef_[0, 0] > 0:
            return float(line.coef_[0, 0]), float(line.intercept_[0])
    # The mean of the probabilities becomes the share of films with it, one film added to each side.
    share = (truth.sum() + 1) / (len(truth) + 2)

    def excess(offset: float) -> float:
        return float(special.expit(column + offset).mean() - share)

    return 1.0, float(optimize.brentq(excess, -30, 30))
