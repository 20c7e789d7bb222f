"""Train the network of a recipe, an epoch at a time, so that a stopped run goes on where it was."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import nn

from cxrserve.training.datasets import load_examples
from cxrserve.training.networks.build import BEST, new_network, read_checkpoint
from cxrserve.training.objective import Classification, Objective, Outlining
from cxrserve.training.recipe import Recipe

log = logging.getLogger(__name__)

LAST = "last.ckpt"


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """How far a run has come: epochs done, and the best validation score so far."""

    epochs: int = 0
    best: float = -1.0


def train(recipe: Recipe, *, data: Path, out: Path, resume: bool = True) -> Path:
    """Train, keeping the epoch with the best validation score (mean AUC, or Dice).

    Args:
        recipe: what to train and how.
        data: folder with `manifest.csv` and the images, or one of the public layouts.
        out: folder of the run; `last.ckpt` and `best.ckpt` are written after every epoch. Runs
            that the recipe builds on lie beside it.
        resume: go on from `last.ckpt` where there is one.

    Returns:
        The path of the best checkpoint.

    Raises:
        UnusableData: the data cannot be trained on, a run that the recipe builds on is not there,
            or `out` holds a run of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    network = new_network(recipe, data=data, runs=out.parent)
    objective = _objective(recipe, network, data=data, runs=out.parent)
    optimiser = torch.optim.AdamW(
        [weight for weight in network.parameters() if weight.requires_grad],
        lr=recipe.optimisation.learning_rate,
        weight_decay=recipe.optimisation.weight_decay,
    )
    progress = _Progress()
    if resume and (out / LAST).is_file():
        progress = _resumed(out / LAST, recipe, network, optimiser)
    for epoch in range(progress.epochs, recipe.optimisation.epochs):
        started_s = time.monotonic()
        loss = _epoch(recipe, network, optimiser, objective, epoch)
        # Epochs at a smaller side than the serving side cannot win: they are not the final network.
        serving_side = recipe.optimisation.phase_of(epoch).side == recipe.input.side
        score = objective.score(network) if serving_side else math.nan
        log.info(
            "epoch %d: loss %.4f, validation score %.4f, %.0f s",
            epoch + 1, loss, score, time.monotonic() - started_s,
        )  # fmt: skip
        best = score > progress.best
        progress = _Progress(epochs=epoch + 1, best=score if best else progress.best)
        _save(out, recipe, network, optimiser, progress, best=best)
    return out / BEST


def _objective(recipe: Recipe, network: nn.Module, *, data: Path, runs: Path) -> Objective:
    examples, held_out = (load_examples(data, recipe, split) for split in ("train", "val"))
    log.info("%s: %d films to learn from", recipe.name, len(examples.films))
    if recipe.task == "segmentation":
        return Outlining(recipe, data=data, train=examples, held_out=held_out)
    return Classification(
        recipe, data=data, runs=runs, train=examples, held_out=held_out, network=network
    )


def _epoch(
    recipe: Recipe,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
    epoch: int,
) -> float:
    """One pass over the training films; returns the mean loss.

    Every epoch draws from its own seed, so a resumed run draws what an unbroken one would.
    """
    randomness = torch.Generator().manual_seed(recipe.seed + epoch)
    torch.manual_seed(recipe.seed + epoch)
    how = recipe.optimisation
    order = objective.order(randomness)
    # A last batch of one has no batch statistics; the films left over come in another epoch.
    batches = [order[i : i + how.batch] for i in range(0, len(order), how.batch)]
    batches = batches[:-1] if len(batches[-1]) == 1 else batches
    network.train()
    losses = []
    for number, batch in enumerate(track(batches, description=f"epoch {epoch + 1}")):
        rate = how.learning_rate * _schedule(epoch + number / len(batches), recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = objective.loss(network, batch, epoch=epoch, randomness=randomness)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _schedule(epoch: float, recipe: Recipe) -> float:
    """Share of the learning rate at a (fractional) epoch: linear warm-up, then half a cosine."""
    warm_up, epochs = recipe.optimisation.warm_up_epochs, recipe.optimisation.epochs
    if epoch < warm_up:
        return (epoch + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (epoch - warm_up) / (epochs - warm_up)))


def _save(
    out: Path,
    recipe: Recipe,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: _Progress,
    *,
    best: bool,
) -> None:
    told = {
        "recipe": recipe.training_sha256,
        "epochs": progress.epochs,
        "best": progress.best,
        "network": network.state_dict(),
    }
    if best:
        _write(told, out / BEST)
    _write({**told, "optimiser": optimiser.state_dict()}, out / LAST)


def _write(state: dict[str, object], path: Path) -> None:
    # Written beside and renamed: a run killed here keeps its former checkpoint.
    beside = path.with_name(f"{path.name}.part")
    torch.save(state, beside)
    os.replace(beside, path)  # noqa: PTH105


def _resumed(
    checkpoint: Path, recipe: Recipe, network: nn.Module, optimiser: torch.optim.Optimizer
) -> _Progress:
    state = read_checkpoint(checkpoint, recipe)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return _Progress(epochs=state["epochs"], best=state["best"])
