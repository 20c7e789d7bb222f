"""Does the map lie where a reader saw something? Against boxes, and against real Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs
from cxrserve.findings.boxes import boxes_of
from cxrserve.findings.evidence import evidence_of, upsampled
from cxrserve.models.manifest import Metric
from cxrserve.training import metrics
from cxrserve.training.datasets import Box, Examples, Film
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.recipe import Recipe

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

Corners = tuple[float, float, float, float]


def maps_of(network: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class activation maps float32 `[n, K, h, w]` of uint8 `[n, side, side]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        return torch.cat(
            [network(images[i : i + 32])[1] for i in range(0, len(images), 32)]
        ).numpy()


def box_figures(
    recipe: Recipe, network: Classifier, examples: Examples, split: str
) -> Iterator[Metric]:
    """Pointing game and localisation accuracy of every label that has boxes among these films.

    `map_peak_in_box`: the highest point of the upsampled map lies in a box (Zhang et al. 2018).
    `located_at_iou_T`: the share of boxes that some box of ours overlaps by more than T (Wang et
    al. 2017, section 4.3). Both are of films that have the finding, whatever the network says.
    """
    boxed = np.array([bool(film.boxes) for film in examples.films])
    if not boxed.any():
        return
    chosen = examples.having(boxed)
    maps, bias = maps_of(network, chosen.pixels), network.head.bias.detach().numpy()
    for label in recipe.findings:
        name = recipe.names[label]
        rows = [i for i, film in enumerate(chosen.films) if boxes_named(film, name)]
        if not rows:
            continue
        films = [chosen.films[i] for i in rows]
        patients = [film.patient for film in films]
        peaks = np.array(
            [_peak_inside(maps[i, label], boxes_named(chosen.films[i], name)) for i in rows]
        )
        share = partial(
            metrics.interval_of_share, among=np.ones(len(rows), np.bool_), seed=recipe.seed
        )
        yield Metric(
            name="map_peak_in_box", label=name, split=split, images=len(rows),
            interval=share(peaks, patients=patients),
        )  # fmt: skip
        best = np.array(
            [
                _best_overlap(_evidence(recipe, maps[i], bias, label), recipe.input.side, box)
                for i in rows
                for box in boxes_named(chosen.films[i], name)
            ]
        )
        owners = [f.patient for f in films for _ in boxes_named(f, name)]
        for threshold in OVERLAPS:
            yield Metric(
                name=f"located_at_iou_{threshold}", label=name, split=split, images=len(rows),
                interval=metrics.interval_of_share(
                    best > threshold, np.ones(len(best), np.bool_), owners, seed=recipe.seed
                ),
            )  # fmt: skip


def grad_cam(network: Classifier, pixels: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
    """Grad-CAM by a backward pass (Selvaraju et al. 2017, eq. 1), before its ReLU: `[n, h, w]`.

    The weights are the mean gradients of the logit by the features after the last ReLU.
    """
    network.eval()
    images = torch.from_numpy(pixels).unsqueeze(1)
    with torch.no_grad():
        features = network.features(images)
    features.requires_grad_(True)
    logits = network.head(features.mean(dim=(2, 3)))
    (gradient,) = torch.autograd.grad(logits[:, label].sum(), features)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).detach().numpy()


def grad_cam_difference(network: Classifier, pixels: NDArray[np.uint8], label: int) -> float:
    """Largest difference between our map and Grad-CAM, each map divided by its largest value."""

    def normalised(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(maps / np.abs(maps).max(axis=(1, 2), keepdims=True))

    ours = maps_of(network, pixels)[:, label]
    return float(np.abs(normalised(ours) - normalised(grad_cam(network, pixels, label))).max())


def boxes_named(film: Film, label: str) -> tuple[Box, ...]:
    """The film's boxes of a label; `tuberculosis` names `ActiveTuberculosis` too."""
    return tuple(box for box in film.boxes if label.lower() in box.label.lower())


def _peak_inside(cam: NDArray[np.float32], boxes: Sequence[Box]) -> bool:
    side = 224
    row, column = np.unravel_index(upsampled(cam, side).argmax(), (side, side))
    x, y = (column + 0.5) / side, (row + 0.5) / side
    return any(
        box.left <= x <= box.left + box.width and box.top <= y <= box.top + box.height
        for box in boxes
    )


def _evidence(
    recipe: Recipe, cam: NDArray[np.float32], bias: NDArray[np.float32], label: int
) -> NDArray[np.float32]:
    """Log-odds at each place, as an answer's boxes are made of."""
    outputs = Outputs(cam.mean(axis=(1, 2))[None] + bias, cam[None], bias)
    return evidence_of(outputs, label, "softmax" if recipe.task == "multi-class" else "sigmoid")


def _best_overlap(evidence: NDArray[np.float32], side: int, box: Box) -> float:
    """Greatest intersection over union of the map's boxes with one box, in shares of the film."""
    wanted = (box.left, box.top, box.left + box.width, box.top + box.height)
    found = [
        (b.left / side, b.top / side, (b.left + b.width) / side, (b.top + b.height) / side)
        for b in boxes_of(evidence, bias=0.0, side=side)
    ]
    return max((_overlap(one, wanted) for one in found), default=0.0)


def _overlap(one: Corners, other: Corners) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (one, other))
    return both / (areas - both)
