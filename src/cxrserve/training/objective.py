"""What a batch is made of and what is minimised on it, for each kind of network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cxrserve.training import losses, metrics
from cxrserve.training.augment import augmented, shrunk
from cxrserve.training.datasets import (
    Examples,
    Film,
    load_boxes,
    load_lungs,
    load_pixels,
    read_manifest,
)
from cxrserve.training.erase import erased
from cxrserve.training.networks.build import trained_classifier
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.networks.lungs_only import LungsOnly
from cxrserve.training.networks.unet import UNet
from cxrserve.training.recipe import Recipe, read_recipe

_BATCH = 32


class Objective(Protocol):
    """The loss of a batch and the score of an epoch."""

    count: int

    def loss(
        self, network: nn.Module, batch: Tensor, *, epoch: int, randomness: torch.Generator
    ) -> Tensor:
        """Loss of the training films with these indices, a scalar."""

    def score(self, network: nn.Module) -> float:
        """Figure of merit on the validation split; more is better."""

    def order(self, randomness: torch.Generator) -> Tensor:
        """Indices of the films of one epoch."""


class Classification:
    """Labels of films, with boxes, erased lesions and teachers where the recipe has them.

    Args:
        recipe: what is trained.
        data: the data folder.
        runs: folder of the teachers' runs.
        train: the training split.
        held_out: the validation split.
        network: the one to be trained; one that sees lungs only is given their outline here, so
            that it is computed once.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        data: Path,
        runs: Path,
        train: Examples,
        held_out: Examples,
        network: nn.Module,
    ) -> None:
        self._recipe, self._held_out = recipe, held_out
        self._exclusive = recipe.task == "multi-class"
        self._teachers = _teachers(recipe, runs)
        unlabelled = _unlabelled(recipe, data)
        films = (*train.films, *unlabelled)
        self.count = len(train.films)
        self._films = films
        pixels = train.pixels
        unknown = np.full((len(unlabelled), len(recipe.labels)), np.nan, np.float32)
        if unlabelled:
            pixels = np.concatenate((pixels, load_pixels(data, unlabelled, recipe.input)))
        self._targets = torch.from_numpy(np.concatenate((train.targets, unknown)))
        self._weights = torch.from_numpy(
            losses.class_weights(train.targets)
            if self._exclusive
            else losses.label_weights(train.targets)
        )
        if recipe.optimisation.films_per_epoch is not None and self._exclusive:
            # The draw is balanced already, but for what the recipe shows more often.
            self._weights = 1 / torch.tensor(self._shown())
        layers = [pixels]
        self._outlined = isinstance(network, LungsOnly)
        if isinstance(network, LungsOnly):
            layers.append(outlines(network, pixels))
        self._grades = torch.from_numpy(grades_of(recipe, films))
        label = recipe.loss.attention_label
        self._attended = None if label is None else recipe.names.index(label)
        if label is not None:
            layers.append(load_boxes(data, films, label, recipe.input))
        self._layers = torch.from_numpy(np.stack(layers, 1))
        self._shrunk = self._layers

    def order(self, randomness: torch.Generator) -> Tensor:
        """See `Objective.order`."""
        count = self._recipe.optimisation.films_per_epoch
        if count is None:
            return torch.randperm(len(self._films), generator=randomness)
        return torch.multinomial(self._draw_weights(), count, True, generator=randomness)

    def loss(
        self, network: nn.Module, batch: Tensor, *, epoch: int, randomness: torch.Generator
    ) -> Tensor:
        """See `Objective.loss`."""
        assert isinstance(network, Classifier)
        how, phase = self._recipe.loss, self._recipe.optimisation.phase_of(epoch)
        layers = self._at_side(phase.side)[batch]
        gone = torch.zeros(len(batch), dtype=torch.bool)
        if how.erased:
            layers, gone = erased(layers, share=how.erased, randomness=randomness)
        views = augmented(layers, self._recipe.augmentation, randomness=randomness)
        seen = views[:, : 1 + self._outlined]
        reading = network.read(seen, phase.frozen_blocks)
        targets = self._targets[batch]
        known = ~targets.isnan().all(dim=1)
        supervised = known & ~gone
        loss = torch.zeros(())
        if supervised.any():
            function = losses.multi_class if self._exclusive else losses.multi_label
            each = function(
                reading.logits[supervised],
                targets[supervised],
                self._weights,
                smoothing=how.label_smoothing,
                gamma=how.focal_gamma if how.kind == "focal" else 0.0,
            )
            own = (targets[supervised] * self._weights).nansum(1) if self._exclusive else None
            loss = each.sum() / (own.sum() if own is not None else len(each))
        if self._attended is not None and how.attention:
            boxes = views[:, -1] / 255
            each = losses.attention(reading.cam[:, self._attended], boxes) * ~gone
            loss = loss + how.attention * each.sum() / len(each)
        if self._attended is not None and gone.any():
            each = losses.absent(reading.logits[gone], self._attended, exclusive=self._exclusive)
            loss = loss + each.sum() / len(batch)
        if how.grading is not None and network.grader is not None:
            grade = self._grades[batch]
            rated = ~grade.isnan() & ~gone
            if rated.any():
                share = self._grades.nanmean()
                each = functional.binary_cross_entropy_with_logits(
                    network.grader(network.dropout(reading.pooled[rated]))[:, 0],
                    grade[rated],
                    pos_weight=(1 - share) / share,
                    reduction="none",
                )
                loss = loss + how.grading.weight * each.sum() / len(batch) / (1 - share)
        if how.distillation is not None:
            loss = self._distilled(loss, reading.logits, seen)
        return loss

    def score(self, network: nn.Module) -> float:
        """Mean AUC over the findings, each against all else."""
        assert isinstance(network, Classifier)
        logits = logits_of(network, self._held_out.pixels)
        return metrics.mean_auc(self._recipe, self._held_out.targets, logits)

    def _at_side(self, side: int) -> Tensor:
        """The films at a phase's side; made when a phase begins and kept until the next."""
        if self._shrunk.shape[-1] != side:
            self._shrunk = shrunk(self._layers, side)
        return self._shrunk

    def _distilled(self, loss: Tensor, logits: Tensor, seen: Tensor) -> Tensor:
        how = self._recipe.loss.distillation
        assert how is not None
        with torch.inference_mode():
            answers = torch.stack([teacher.read(seen[:, :1]).logits for teacher in self._teachers])
        each = losses.distillation(
            logits,
            answers.mean(dim=0).clone(),
            temperature=how.temperature,
            exclusive=self._exclusive,
        )
        return (1 - how.weight) * loss + how.weight * each.mean()

    def _draw_weights(self) -> Tensor:
        """Every label as often as every other, and within a label every source.

        Of a network with several labels a film, half are films with labels, half without.
        """
        if not self._exclusive:
            known = ~self._targets.isnan().all(dim=1)
            return torch.where(known, 1 / known.sum(), 1 / max(1, int((~known).sum())))
        kinds = [
            (tuple(np.flatnonzero(target == 1)), film.source)
            for target, film in zip(self._targets.numpy(), self._films, strict=True)
        ]
        sources = {label: len({s for lab, s in kinds if lab == label}) for label, _ in set(kinds)}
        counts = {kind: kinds.count(kind) for kind in set(kinds)}
        shown = self._shown()
        return torch.tensor(
            [shown[kind[0][0]] / (sources[kind[0]] * counts[kind]) for kind in kinds]
        )

    def _shown(self) -> list[float]:
        """How many times as often as by default a film of each label is drawn, `[K]`."""
        draw = self._recipe.optimisation.draw
        return [draw.get(name, 1.0) for name in self._recipe.names]


class Outlining:
    """Masks of lungs."""

    def __init__(self, recipe: Recipe, *, data: Path, train: Examples, held_out: Examples) -> None:
        self._recipe, self._held_out = recipe, held_out
        self.count = len(train.films)
        masks = load_lungs(data, train.films, recipe.input)
        self._layers = torch.from_numpy(np.concatenate((train.pixels[:, None], masks), 1))
        self._held_out_masks = load_lungs(data, held_out.films, recipe.input)

    def order(self, randomness: torch.Generator) -> Tensor:
        """See `Objective.order`; `films_per_epoch` shows each film several times, moved anew."""
        count = self._recipe.optimisation.films_per_epoch or self.count
        shown = [torch.randperm(self.count, generator=randomness)] * -(-count // self.count)
        return torch.cat(shown)[:count]

    def loss(
        self, network: nn.Module, batch: Tensor, *, epoch: int, randomness: torch.Generator
    ) -> Tensor:
        """See `Objective.loss`. A mirrored film has its lungs on the other sides."""
        assert isinstance(network, UNet)
        how, phase = self._recipe.augmentation, self._recipe.optimisation.phase_of(epoch)
        layers = self._layers[batch]
        if how.mirror:
            turned = torch.rand(len(batch), generator=randomness) < 0.5
            layers = layers.clone()
            layers[turned] = layers[turned].flip(-1)[:, (0, 2, 1)]
        how = how.model_copy(update={"mirror": False})
        views = augmented(shrunk(layers, phase.side), how, randomness=randomness)
        return losses.outline(network.logits(views[:, :1]), (views[:, 1:] > 127).float()).mean()

    def score(self, network: nn.Module) -> float:
        """Mean Dice of the two lungs."""
        masks = masks_of(network, self._held_out.pixels) > 0.5
        return float(metrics.dice(masks, self._held_out_masks > 127).mean())


def grades_of(recipe: Recipe, films: Sequence[Film]) -> NDArray[np.float32]:
    """1 and 0 for films with one of the two graded labels, NaN for all others, `[n]`."""
    grades = np.full(len(films), np.nan, np.float32)
    how = recipe.loss.grading
    if how is not None:
        for index, film in enumerate(films):
            positive, negative = how.positive in film.labels, how.negative in film.labels
            if positive != negative:
                grades[index] = positive
    return grades


def logits_of(network: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits float32 `[n, K]` of uint8 `[n, side, side]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        return torch.cat(
            [network(images[i : i + _BATCH])[0] for i in range(0, len(images), _BATCH)]
        ).numpy()


def masks_of(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities float32 `[n, C, side, side]` of uint8 `[n, side, side]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        return torch.cat(
            [network(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
        ).numpy()


def outlines(network: LungsOnly, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outline that the network sees through, 0..255, `[n, side, side]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        batches = [
            (255 * network.outlined(images[i : i + _BATCH])[:, 0]).round().to(torch.uint8)
            for i in range(0, len(images), _BATCH)
        ]
    return torch.cat(batches).numpy()


def _teachers(recipe: Recipe, runs: Path) -> tuple[Classifier, ...]:
    how = recipe.loss.distillation
    if how is None:
        return ()
    read = [read_recipe(name) for name in how.teachers]
    return tuple(trained_classifier(teacher, run=runs / teacher.name) for teacher in read)


def _unlabelled(recipe: Recipe, data: Path) -> tuple[Film, ...]:
    how = recipe.loss.distillation
    tasks = how.unlabelled if how is not None else ()
    return tuple(
        film for task in tasks for film in read_manifest(data, task=task) if film.split == "train"
    )
