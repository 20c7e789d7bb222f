"""What training minimises. Every function returns one number a film, `[N]`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrserve.training.datasets import UnusableData


def class_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights `[K]` that make every class of one-hot `[N, K]` count the same: w_c = N / (K · N_c).

    Raises:
        UnusableData: a class that is trained has no example.
    """
    trained = ~np.isnan(targets).any(axis=0)
    counts = np.where(trained, targets.sum(axis=0), 1)
    if (counts == 0).any():
        raise UnusableData(f"the training split has {counts.tolist()} films a class; none may be 0")
    weights = counts[trained].sum() / (trained.sum() * counts)
    return np.where(trained, weights, 0).astype(np.float32)


def label_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights `[2, K]` of absent and present labels, w₋ = |P| / (|P|+|N|) and w₊ = |N| / (|P|+|N|).

    As in CheXNet's one-disease loss (Rajpurkar et al. 2017, section 2.1), for each label by
    itself; both are doubled, so that a label found in half of the films weighs 1 either way.
    """
    with np.errstate(invalid="ignore"):
        present = np.nan_to_num(np.nanmean(np.where(np.isnan(targets), 0, targets), axis=0))
    return np.stack((2 * present, 2 * (1 - present))).astype(np.float32)


def multi_class(
    logits: Tensor, targets: Tensor, weights: Tensor, *, smoothing: float, gamma: float
) -> Tensor:
    """Weighted cross-entropy Σ_c w_c · t_c · (1 - p_c)^γ · -log p_c, targets smoothed.

    Args:
        logits: `[N, K]`; labels that are not trained (NaN in `targets`) take no part.
        targets: one-hot `[N, K]`.
        weights: `[K]`, of `class_weights`.
        smoothing: share of the target that is spread evenly over the classes.
        gamma: focusing of Lin et al. 2017; 0 is plain cross-entropy.
    """
    trained = ~targets.isnan().any(dim=0)
    logits, targets, weights = logits[:, trained], targets[:, trained], weights[trained]
    own = (targets * weights).sum(dim=1)
    smooth = targets * (1 - smoothing) + smoothing / targets.shape[1]
    log_p = functional.log_softmax(logits, dim=1)
    return -(own[:, None] * smooth * (1 - log_p.exp()) ** gamma * log_p).sum(dim=1)


def multi_label(
    logits: Tensor, targets: Tensor, weights: Tensor, *, smoothing: float, gamma: float
) -> Tensor:
    """Mean over labels of w · (1 - p_t)^γ · -log p_t; unknown labels (NaN) take no part.

    Args:
        logits: `[N, K]`.
        targets: 0, 1 or NaN `[N, K]`.
        weights: `[2, K]`, of `label_weights`.
        smoothing: targets become smoothing / 2 and 1 - smoothing / 2.
        gamma: focusing of Lin et al. 2017; 0 is plain cross-entropy.
    """
    known = ~targets.isnan()
    target = targets.nan_to_num(0.0)
    smooth = target * (1 - smoothing) + smoothing / 2
    loss = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    if gamma:
        right = torch.where(target > 0.5, logits, -logits).sigmoid()
        loss = loss * (1 - right) ** gamma
    weight = torch.where(target > 0.5, weights[1], weights[0]) * known
    return (loss * weight).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def attention(cam: Tensor, boxes: Tensor) -> Tensor:
    """-Σ q · log softmax(cam): the map of one label against its boxes; 0 for a film without any.

    q is the share of the painted area that lies in each cell, so the map is drawn to peak inside
    the boxes while its height, which the logit is made of, stays free.

    Args:
        cam: `[N, h, w]`.
        boxes: what is painted, 0..1, `[N, S, S]`.
    """
    painted = functional.adaptive_avg_pool2d(boxes, (cam.shape[-2], cam.shape[-1])).flatten(1)
    area = painted.sum(dim=1, keepdim=True)
    share = painted / area.clamp(min=1e-6)
    return -(share * functional.log_softmax(cam.flatten(1), dim=1)).sum(dim=1)


def absent(logits: Tensor, label: int, *, exclusive: bool) -> Tensor:
    """-log(1 - p) of a label that is not there: whatever else the film shows is not said."""
    if not exclusive:
        return functional.softplus(logits[:, label])
    others = torch.cat((logits[:, :label], logits[:, label + 1 :]), 1).logsumexp(dim=1)
    return functional.softplus(logits[:, label] - others)


def distillation(logits: Tensor, teacher: Tensor, *, temperature: float, exclusive: bool) -> Tensor:
    """T² · cross-entropy to the teacher's softened answer (Hinton et al. 2015, section 2)."""
    student, teacher = logits / temperature, teacher / temperature
    if exclusive:
        loss = -(teacher.softmax(dim=1) * student.log_softmax(dim=1)).sum(dim=1)
    else:
        loss = functional.binary_cross_entropy_with_logits(
            student, teacher.sigmoid(), reduction="none"
        ).mean(dim=1)
    return loss * temperature**2


def outline(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross-entropy plus 1 - soft Dice (Milletari et al. 2016), both lungs alike.

    Args:
        logits: `[N, C, S, S]`.
        masks: 0..1, `[N, C, S, S]`.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    p = logits.sigmoid()
    both = (p * masks).sum(dim=(2, 3))
    dice = (2 * both + 1) / (p.sum(dim=(2, 3)) + masks.sum(dim=(2, 3)) + 1)
    return entropy.mean(dim=(1, 2, 3)) + (1 - dice).mean(dim=1)
