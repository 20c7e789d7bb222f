"""Does a network know the disease, or only the place that its films come from?

Where every film of a disease has one source, its AUC cannot tell. These figures can: they take the
disease away and leave the source, or stay inside one source.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxrserve.models.manifest import Metric
from cxrserve.training import metrics
from cxrserve.training.datasets import Examples, load_boxes
from cxrserve.training.erase import painted_over
from cxrserve.training.metrics import Floats
from cxrserve.training.networks.build import trained_network
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.objective import logits_of, masks_of
from cxrserve.training.recipe import Recipe, Shortcuts, read_recipe

# The outline is widened by this share of the side, so that no lung is left at its border.
_MARGIN = 0.03


def shortcut_figures(
    recipe: Recipe,
    network: Classifier,
    *,
    data: Path,
    runs: Path,
    train: Examples,
    test: Examples,
) -> Iterator[Metric]:
    """What is left of the figure when the disease is taken away.

    - `auc_without_lungs`: the label against all else, on films whose lungs are painted black.
    - `auc_lesions_against_none`: films of the label against the same films, lesions painted over.
    - `auc_active_against_latent`: a linear probe of the features, inside the one source.
    - `auc_source`: a linear probe that tells the sources of films apart that all are normal.
    """
    how = recipe.shortcuts
    assert how is not None
    label = recipe.names.index(how.label)
    truth = test.targets[:, label] == 1
    say = partial(_figure, recipe)

    def odds(pixels: NDArray[np.uint8]) -> Floats:
        return metrics.log_odds(recipe, logits_of(network, pixels))[:, label]

    black = without_lungs(test.pixels, outliner=how.outliner, runs=runs)
    yield say("auc_without_lungs", how.label, truth, odds(black), test)
    boxes = load_boxes(data, test.films, how.label, recipe.input)
    boxed = boxes.any(axis=(1, 2))
    if boxed.any():
        lesions, covers = test.pixels[boxed], boxes[boxed]
        painted = np.stack(
            [
                painted_over(torch.from_numpy(film), torch.from_numpy(cover)).numpy()
                for film, cover in zip(lesions, covers, strict=True)
            ]
        )
        both = np.concatenate((odds(lesions), odds(painted)))
        own = np.repeat([True, False], len(lesions))
        twice = test.having(np.asarray(boxed))
        pair = Examples(
            pixels=np.concatenate((lesions, painted)),
            targets=np.concatenate((twice.targets, twice.targets)),
            films=(*twice.films, *twice.films),
        )
        yield say("auc_lesions_against_none", how.label, own, both, pair)
    features = {split: pooled_of(network, e.pixels) for split, e in (("a", train), ("b", test))}
    yield from _active_against_latent(recipe, how, train, test, features)
    yield from _sources(recipe, how, train, test, features)


def without_lungs(pixels: NDArray[np.uint8], *, outliner: str, runs: Path) -> NDArray[np.uint8]:
    """The films with both lungs painted black, uint8 `[n, side, side]`.

    Args:
        outliner: recipe of the segmentation network, whose run lies under `runs`.
    """
    recipe = read_recipe(outliner)
    network = trained_network(recipe, run=runs / recipe.name)
    side = pixels.shape[-1]
    images = torch.from_numpy(pixels).unsqueeze(1).float()
    small = torch.nn.functional.interpolate(images, (recipe.input.side,) * 2, mode="bilinear")
    masks = torch.from_numpy(masks_of(network, small.round().to(torch.uint8).numpy()[:, 0]))
    lung = masks.amax(dim=1, keepdim=True)
    reach = max(1, round(_MARGIN * lung.shape[-1]))
    lung = torch.nn.functional.max_pool2d(lung, 2 * reach + 1, stride=1, padding=reach)
    large = torch.nn.functional.interpolate(lung, (side, side), mode="bilinear")
    return (images * (large < 0.5)).to(torch.uint8).numpy()[:, 0]


def pooled_of(network: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pooled features float32 `[n, C]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        return torch.cat(
            [network.read(images[i : i + 32]).pooled for i in range(0, len(images), 32)]
        ).numpy()


def _active_against_latent(
    recipe: Recipe, how: Shortcuts, train: Examples, test: Examples, features: dict[str, Floats]
) -> Iterator[Metric]:
    """Films that are active or latent, and not both."""

    def wanted(examples: Examples) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        active = np.array(["active" in film.labels for film in examples.films])
        latent = np.array(["latent" in film.labels for film in examples.films])
        return active ^ latent, active

    (chosen, active), (test_chosen, test_active) = wanted(train), wanted(test)
    if not chosen.any() or not test_chosen.any():
        return
    probe = _probe().fit(features["a"][chosen], active[chosen])
    scores = probe.decision_function(features["b"][test_chosen])
    yield _figure(
        recipe, "auc_active_against_latent", how.label, test_active[test_chosen], scores,
        test.having(test_chosen),
    )  # fmt: skip


def _sources(
    recipe: Recipe, how: Shortcuts, train: Examples, test: Examples, features: dict[str, Floats]
) -> Iterator[Metric]:
    """Normal films of two sources: nothing but the source differs by design."""
    normal = recipe.names.index(how.normal)
    chosen, test_chosen = train.targets[:, normal] == 1, test.targets[:, normal] == 1
    sources = np.array([film.task for film in train.films])
    test_sources = np.array([film.task for film in test.films])
    first, *others = sorted(set(sources[chosen]))
    for other in others:
        among = chosen & np.isin(sources, (first, other))
        test_among = test_chosen & np.isin(test_sources, (first, other))
        probe = _probe().fit(features["a"][among], sources[among] == first)
        yield _figure(
            recipe, "auc_source", f"{how.normal}: {first} against {other}",
            test_sources[test_among] == first, probe.decision_function(features["b"][test_among]),
            test.having(test_among),
        )  # fmt: skip


def _probe() -> LogisticRegression:
    """Ridge penalty 0.01 on standardised features, classes weighted."""
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
    )


def _figure(  # noqa: PLR0917 - a row of a table
    recipe: Recipe,
    name: str,
    label: str,
    truth: NDArray[np.bool_],
    scores: Floats,
    examples: Examples,
) -> Metric:
    return Metric(
        name=name,
        label=label,
        split="test",
        images=len(truth),
        interval=metrics.interval(
            metrics.Curve(truth, scores).auc, examples.patients, seed=recipe.seed
        ),
    )
