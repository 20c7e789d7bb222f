"""Train the network of a recipe, an epoch at a time, so that a stopped run goes on where it was."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from cxrserve.training.augment import augmented
from cxrserve.training.datasets import Examples, UnusableData, load_examples, read_manifest
from cxrserve.training.keras_weights import load_keras_backbone
from cxrserve.training.mobilenetv2 import MobileNetV2
from cxrserve.training.recipe import Recipe

log = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """How far a run has come: epochs done, and the best validation AUC so far."""

    epochs: int = 0
    best_auc: float = -1.0


def train(recipe: Recipe, *, data: Path, out: Path, resume: bool = True) -> Path:
    """Train, keeping the epoch with the best validation AUC.

    Args:
        recipe: what to train and how.
        data: folder with `manifest.csv` and the images.
        out: folder of the run; `last.ckpt` and `best.ckpt` are written after every epoch.
        resume: go on from `last.ckpt` where there is one.

    Returns:
        The path of the best checkpoint.

    Raises:
        UnusableData: the data cannot be trained on, or `out` holds a run of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    films = read_manifest(data, task=recipe.dataset)
    labels = [label.name for label in recipe.labels]
    examples, held_out = (
        load_examples(data, films, split, labels=labels, how=recipe.input)
        for split in ("train", "val")
    )
    network = new_network(recipe, data=data)
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=recipe.optimisation.learning_rate,
        weight_decay=recipe.optimisation.weight_decay,
    )
    progress = _Progress()
    if resume and (out / LAST).is_file():
        progress = _resumed(out / LAST, recipe, network, optimiser)
    for epoch in range(progress.epochs, recipe.optimisation.epochs):
        started_s = time.monotonic()
        loss = _epoch(recipe, network, optimiser, examples, epoch)
        auc = _auc(recipe, network, held_out)
        log.info(
            "epoch %d: loss %.4f, validation AUC %.4f, %.0f s",
            epoch + 1, loss, auc, time.monotonic() - started_s,
        )  # fmt: skip
        # Epochs at a smaller side than the serving side cannot win: they are not the final network.
        serving_side = recipe.optimisation.phase_of(epoch).side == recipe.input.side
        best = serving_side and auc > progress.best_auc
        progress = _Progress(epochs=epoch + 1, best_auc=auc if best else progress.best_auc)
        _save(out, recipe, network, optimiser, progress, best=best)
    return out / BEST


def new_network(recipe: Recipe, *, data: Path) -> MobileNetV2:
    """A network with the recipe's starting weights; its head is drawn with the recipe's seed."""
    torch.manual_seed(recipe.seed)
    network = _unweighted(recipe)
    if recipe.network.weights is not None:
        load_keras_backbone(network, data / recipe.network.weights)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def trained_network(recipe: Recipe, *, run: Path) -> MobileNetV2:
    """The network of the run's best checkpoint, in evaluation mode.

    Raises:
        UnusableData: there is no checkpoint, or it is of another recipe.
    """
    network = _unweighted(recipe)
    network.load_state_dict(_read(run / BEST, recipe)["network"])
    return network.eval()


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Weights of the loss that make every class count the same: w_c = N / (K · N_c).

    The loss is the weighted mean of cross-entropies, sum(w_y · CE) / sum(w_y).

    Raises:
        UnusableData: a class has no example.
    """
    counts = np.bincount(targets, minlength=classes)
    if (counts == 0).any():
        raise UnusableData(f"the training split has {counts.tolist()} films a class; none may be 0")
    return (len(targets) / (classes * counts)).astype(np.float32)


def logits_of(network: MobileNetV2, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits float32 `[n, K]` of uint8 `[n, side, side]`."""
    network.eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).unsqueeze(1)
        logits = torch.cat([network(images[i : i + 32])[0] for i in range(0, len(images), 32)])
    return np.asarray(logits.numpy(), np.float32)


def _epoch(
    recipe: Recipe,
    network: MobileNetV2,
    optimiser: torch.optim.Optimizer,
    examples: Examples,
    epoch: int,
) -> float:
    """One pass over the training films; returns the mean loss.

    Every epoch draws from its own seed, so a resumed run draws what an unbroken one would.
    """
    randomness = torch.Generator().manual_seed(recipe.seed + epoch)
    torch.manual_seed(recipe.seed + epoch)
    how, phase = recipe.optimisation, recipe.optimisation.phase_of(epoch)
    pixels, targets = torch.from_numpy(examples.pixels), torch.from_numpy(examples.targets)
    weights = torch.from_numpy(class_weights(examples.targets, len(recipe.labels)))
    order = torch.randperm(len(targets), generator=randomness)
    # A last batch of one has no batch statistics; the films left over come in another epoch.
    batches = [order[i : i + how.batch] for i in range(0, len(order), how.batch)]
    batches = batches[:-1] if len(batches[-1]) == 1 else batches
    network.train()
    losses = []
    for number, batch in enumerate(track(batches, description=f"epoch {epoch + 1}")):
        rate = how.learning_rate * _schedule(epoch + number / len(batches), recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        images = augmented(
            pixels[batch].unsqueeze(1), recipe.augmentation, side=phase.side, randomness=randomness
        )
        logits = network.logits_with_frozen(images, phase.frozen_blocks)
        loss: Tensor = functional.cross_entropy(
            logits, targets[batch], weight=weights, label_smoothing=how.label_smoothing
        )
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


def _auc(recipe: Recipe, network: MobileNetV2, examples: Examples) -> float:
    logits = logits_of(network, examples.pixels)
    score = logits[:, recipe.finding] - np.delete(logits, recipe.finding, 1).max(axis=1)
    return float(roc_auc_score(examples.targets == recipe.finding, score))


def _unweighted(recipe: Recipe) -> MobileNetV2:
    return MobileNetV2(
        labels=len(recipe.labels), width=recipe.network.width, dropout=recipe.network.dropout
    )


def _save(
    out: Path,
    recipe: Recipe,
    network: MobileNetV2,
    optimiser: torch.optim.Optimizer,
    progress: _Progress,
    *,
    best: bool,
) -> None:
    told = {
        "recipe": recipe.training_sha256,
        "epochs": progress.epochs,
        "best_auc": progress.best_auc,
    }
    for name in (BEST, LAST) if best else (LAST,):
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), **told}
        # Written beside and renamed: a run killed here keeps its former checkpoint.
        torch.save(state, out / f"{name}.part")
        os.replace(out / f"{name}.part", out / name)  # noqa: PTH105


def _resumed(
    checkpoint: Path, recipe: Recipe, network: MobileNetV2, optimiser: torch.optim.Optimizer
) -> _Progress:
    state = _read(checkpoint, recipe)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return _Progress(epochs=state["epochs"], best_auc=state["best_auc"])


def _read(checkpoint: Path, recipe: Recipe) -> dict[str, Any]:
    if not checkpoint.is_file():
        raise UnusableData(f"the run has no {checkpoint.name}", advice="train it first")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe.training_sha256:
        raise UnusableData(
            "the run was made with another recipe",
            advice="choose another folder with --out, or start again with --no-resume",
        )
    return state  # type: ignore[no-any-return]
