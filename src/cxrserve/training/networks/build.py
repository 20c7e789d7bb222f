"""The network that a recipe describes, new or from the checkpoint of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrserve.training.datasets import UnusableData
from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.networks.keras_weights import load_keras_backbone
from cxrserve.training.networks.large import DenseNet121, EfficientNetLite0, ResNet50
from cxrserve.training.networks.lungs_only import LungsOnly
from cxrserve.training.networks.mobilenetv2 import MobileNetV2
from cxrserve.training.networks.plain_cnn import PlainCNN
from cxrserve.training.networks.unet import UNet
from cxrserve.training.recipe import Recipe, read_recipe

BEST = "best.ckpt"


def new_network(recipe: Recipe, *, data: Path, runs: Path) -> nn.Module:
    """A network with the recipe's starting weights; its head is drawn with the recipe's seed.

    Args:
        data: folder that weights in a file are under.
        runs: folder with the runs of other recipes, `runs/<name>`.

    Raises:
        UnusableData: the starting weights are not there.
    """
    torch.manual_seed(recipe.seed)
    start = recipe.network.weights
    network = unweighted(recipe, pretrained=start == "imagenet")
    classifier = network.network if isinstance(network, LungsOnly) else network
    if start is not None and start.startswith("run:"):
        _load_backbone(classifier, runs / start.removeprefix("run:"))
    elif start is not None and start != "imagenet":
        assert isinstance(classifier, MobileNetV2)
        load_keras_backbone(classifier, data / start)
    if isinstance(network, LungsOnly) and recipe.network.lungs_from is not None:
        outliner = read_recipe(recipe.network.lungs_from)
        state = read_checkpoint(runs / outliner.name / BEST, outliner)["network"]
        network.outliner.load_state_dict(state)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def trained_network(recipe: Recipe, *, run: Path) -> nn.Module:
    """The network of the run's best checkpoint, in evaluation mode.

    Raises:
        UnusableData: there is no checkpoint, or it is of another recipe.
    """
    network = unweighted(recipe)
    network.load_state_dict(read_checkpoint(run / BEST, recipe)["network"])
    return network.eval()


def trained_classifier(recipe: Recipe, *, run: Path) -> Classifier:
    """`trained_network` of a recipe that classifies."""
    network = trained_network(recipe, run=run)
    assert isinstance(network, Classifier)
    return network


def read_checkpoint(checkpoint: Path, recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint holds.

    Raises:
        UnusableData: it is not there, or was made with another recipe.
    """
    if not checkpoint.is_file():
        raise UnusableData(
            f"there is no {checkpoint}", advice=f"train it first: --recipe {recipe.name}"
        )
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe.training_sha256:
        raise UnusableData(
            f"the run in {checkpoint.parent} was made with another recipe",
            advice="choose another folder with --out, or start again with --no-resume",
        )
    return state  # type: ignore[no-any-return]


def unweighted(recipe: Recipe, *, pretrained: bool = False) -> nn.Module:
    """The network without its weights (`pretrained`: with those that its package carries)."""
    how, labels = recipe.network, len(recipe.labels)
    if how.architecture == "unet":
        return UNet(labels=labels)
    classifier: Classifier
    match how.architecture:
        case "mobilenetv2":
            classifier = MobileNetV2(
                labels=labels,
                width=how.width,
                dropout=how.dropout,
                output_stride=how.output_stride,
            )
        case "densenet121":
            classifier = DenseNet121(labels=labels, dropout=how.dropout)
        case "resnet50":
            classifier = ResNet50(labels=labels, dropout=how.dropout)
        case "plain-cnn":
            classifier = PlainCNN(labels=labels, dropout=how.dropout)
        case _:
            classifier = EfficientNetLite0(
                labels=labels, dropout=how.dropout, pretrained=pretrained
            )
    if recipe.loss.grading is not None:
        classifier.grader = nn.Linear(classifier.head.in_features, 1)
    if how.lungs_from is None:
        return classifier
    outliner = read_recipe(how.lungs_from)
    return LungsOnly(
        classifier, UNet(labels=len(outliner.labels)), outliner_side=outliner.input.side
    )


def _load_backbone(network: nn.Module, run: Path) -> None:
    """Everything but the head from the best checkpoint of a run of the same architecture."""
    if not (run / BEST).is_file():
        raise UnusableData(f"there is no {run / BEST} to start from", advice="train it first")
    state = torch.load(run / BEST, map_location="cpu", weights_only=True)["network"]
    backbone = {name: value for name, value in state.items() if not name.startswith("head.")}
    missing, unexpected = network.load_state_dict(backbone, strict=False)
    if unexpected or any(not name.startswith("head.") for name in missing):
        raise UnusableData(f"the run {run.name!r} is of another architecture")
