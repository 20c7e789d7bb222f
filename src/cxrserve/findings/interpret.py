"""Logits become findings: calibrated, held against an operating point, coded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs
from cxrserve.errors import EngineFailure, UnknownOption
from cxrserve.models.manifest import Calibration, Code, Manifest

# Finer than any engine's parity bound: what the digits behind it say differs between machines.
_DIGITS = 6
# float32 sums over a 7 x 7 map of logits up to 100 stay well below this.
_CAM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Finding:
    """What a network says about one label.

    `probability` is None for a label that no trustworthy data trained; `threshold` and `positive`
    are None for a label without a threshold at this operating point.
    """

    label: str
    probability: float | None
    threshold: float | None
    positive: bool | None
    code: Code | None


def choose_operating_point(manifest: Manifest, asked: str | None) -> str | None:
    """The operating point to use: the one asked for, or the package's default.

    Raises:
        UnknownOption: this model has no operating point of that name.
    """
    if asked is None:
        return manifest.default_operating_point
    if asked not in manifest.operating_points:
        raise UnknownOption(
            f"{manifest.name} has no operating point {asked!r}",
            advice=f"choose one of: {', '.join(manifest.operating_points) or 'none'}",
            option="operating_point",
        )
    return asked


def find(
    manifest: Manifest, logits: NDArray[np.float32], operating_point: str | None
) -> tuple[Finding, ...]:
    """Interpret one image's logits.

    Args:
        manifest: labels, activation, calibration and thresholds.
        logits: float32 `[K]`.
        operating_point: a name from `choose_operating_point`.

    Returns:
        A finding a label, in the package's order.
    """
    if manifest.activation == "softmax":
        # A class that nothing trained must take no share of what the others are given.
        trained = [label.trained for label in manifest.labels]
        logits = np.where(trained, logits, np.float32(-np.inf))
    scores = probabilities(logits, manifest.activation, manifest.calibration)
    thresholds = manifest.operating_points.get(operating_point or "", {})
    findings = []
    for label, score in zip(manifest.labels, scores, strict=True):
        probability = round(float(score), _DIGITS) if label.trained else None
        threshold = thresholds.get(label.name)
        positive = None
        if probability is not None and threshold is not None:
            positive = probability >= threshold
        findings.append(Finding(label.name, probability, threshold, positive, label.code))
    return tuple(findings)


def probabilities(
    logits: NDArray[np.float32], activation: str, calibration: Calibration
) -> NDArray[np.float64]:
    """Calibrated probabilities float64 `[..., K]` of logits `[..., K]`; see `Calibration`."""
    scaled = logits.astype(np.float64) / calibration.temperature
    if calibration.method == "platt":
        scaled = scaled * calibration.scales + calibration.offsets
    if activation == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-scaled)))
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def check_map(outputs: Outputs) -> None:
    """Check `mean(cam) + bias == logit` on an answer that carries a heat map.

    Raises:
        EngineFailure: the map does not explain this logit.
    """
    difference = np.abs(outputs.cam.mean(axis=(2, 3)) + outputs.bias - outputs.logits).max()
    if difference > _CAM_TOLERANCE:
        raise EngineFailure(f"the heat map does not explain the logit: off by {difference:.2g}")
