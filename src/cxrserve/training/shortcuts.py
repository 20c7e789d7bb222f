"""Does a network know the disease, or only the place that its films come from?

Where every film of a disease has one source, its AUC cannot tell. These figures can: they take the
disease away and leave the source, or stay inside one source.
"""

from __future__ import annotations

from collections import Counter
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
_ACTIVITY = ("active", "latent")
_PROBE_FILMS = 300


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

    - `auc_without_lungs`: the label against all else, on films whose lungs are painted black;
      `auc_without_lungs_by_source` the same against each other source, which says what still leaks.
    - `auc_lesions_against_none`: films of the label against the same films, lesions painted over.
    - `auc_active_against_latent`: inside the one source, by the network's second head where it has
      one, or by a linear probe of its features.
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
    left = odds(black)
    yield say("auc_without_lungs", how.label, truth, left, test)
    tasks = np.array([film.task for film in test.films])
    for task in sorted(set(tasks[~truth])):
        among = truth | (tasks == task)
        yield say(
            "auc_without_lungs_by_source", f"{how.label} against the films of {task}",
            truth[among], left[among], test.having(among),
        )  # fmt: skip
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
    yield from _active_against_latent(recipe, how, network, train, test)
    yield from _sources(recipe, how, network, train, test)


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
    recipe: Recipe, how: Shortcuts, network: Classifier, train: Examples, test: Examples
) -> Iterator[Metric]:
    """Films that are active or latent, and not both: by the second head, or else by a probe."""
    active, latent = _ACTIVITY
    chosen, test_chosen = (
        np.array([(active in f.labels) != (latent in f.labels) for f in examples.films])
        for examples in (train, test)
    )
    if not chosen.any() or not test_chosen.any():
        return
    train, test = train.having(chosen), test.having(test_chosen)
    truth, test_truth = (
        np.array([active in film.labels for film in examples.films]) for examples in (train, test)
    )
    features = pooled_of(network, test.pixels)
    if network.grader is not None:
        with torch.inference_mode():
            scores = network.grader(torch.from_numpy(features))[:, 0].numpy()
    else:
        probe = _probe().fit(pooled_of(network, train.pixels), truth)
        scores = probe.decision_function(features)
    yield _figure(recipe, "auc_active_against_latent", how.label, test_truth, scores, test)


def _sources(
    recipe: Recipe, how: Shortcuts, network: Classifier, train: Examples, test: Examples
) -> Iterator[Metric]:
    """Normal films of two sources: nothing but the source differs by design."""
    normal = recipe.names.index(how.normal)
    train, test = (_few_of_each_source(e.having(e.targets[:, normal] == 1)) for e in (train, test))
    sources, test_sources = (np.array([film.task for film in e.films]) for e in (train, test))
    features, test_features = pooled_of(network, train.pixels), pooled_of(network, test.pixels)
    first, *others = sorted(set(sources))
    for other in others:
        among, test_among = np.isin(sources, (first, other)), np.isin(test_sources, (first, other))
        probe = _probe().fit(features[among], sources[among] == first)
        yield _figure(
            recipe,
            "auc_source",
            f"{how.normal}: {first} against {other}",
            test_sources[test_among] == first,
            probe.decision_function(test_features[test_among]),
            test.having(test_among),
        )


def _few_of_each_source(examples: Examples) -> Examples:
    """At most `_PROBE_FILMS` of each source: a probe needs no more, and features take time."""
    seen: Counter[str] = Counter()
    chosen = []
    for film in examples.films:
        chosen.append(seen[film.task] < _PROBE_FILMS)
        seen[film.task] += 1
    return examples.having(np.array(chosen))


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
