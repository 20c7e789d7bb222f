"""CheXNet-style checkpoints: torchvision's DenseNet-121 or ResNet-50 with a head of their own.

Such files differ in wrapping and names, not in arithmetic (CheXNet: Rajpurkar et al. 2017, arXiv
1711.05225; github.com/arnoweng/CheXNet, `model.py`).
"""

# ruff: noqa: PLC0415 - a late import keeps torch out of the command line's start

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cxrserve.training.importing.errors import ImportNotPossible
from cxrserve.training.importing.package import INTENDED_USE, Description, labelled

if TYPE_CHECKING:
    from cxrserve.models.manifest import Manifest

ARCHITECTURES = ("densenet121", "resnet50")
# The order in which CheXNet and its descendants write the 14 findings of NIH ChestX-ray14.
NIH14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
_WRAPPED = re.compile(r"^(?:(?:module|model|backbone|densenet121|resnet50)\.)+")
# torchvision before 0.2 named dense layers `norm.1`; its own loader renames them like this.
_DOTTED = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
_HEAD = re.compile(r"^(classifier|fc)\.\d+\.(weight|bias)$")

Value = TypeVar("Value")


def import_torchvision(
    architecture: str,
    checkpoint: Path | None,
    labels: str | None,
    *,
    package: Path | None,
    side: int = 224,
    as_name: str | None = None,
) -> tuple[Manifest, Path]:
    """Make a package of a checkpoint.

    Args:
        architecture: `densenet121` or `resnet50`.
        checkpoint: the file; nothing is ever downloaded.
        labels: `nih14` for CheXNet's order, or names in the head's order with commas between.
        package: the folder to write; none for `models/<name of the package>`.
        side: the square that it was trained on, in pixels.
        as_name: the package's name; none for `<architecture>-nih14` or `<architecture>-imported`.

    Returns:
        What `model.yaml` says, and the folder.

    Raises:
        ImportNotPossible: unknown architecture, no file, or labels that are empty or repeat.
        UnsafeWeights, UnusableWeights: see `read_weights`; also where it is another network.
        BrokenPackage: the graph disagrees with the network.
    """
    if architecture not in ARCHITECTURES:
        raise ImportNotPossible(
            f"the architecture {architecture!r} is not read here",
            advice=f"choose one of: {', '.join(ARCHITECTURES)}",
        )
    if checkpoint is None:
        raise ImportNotPossible(
            "nothing is downloaded: the weights must be a file", advice="pass --checkpoint FILE"
        )
    names = label_names(labels)
    from cxrserve.training.importing.networks import IMAGENET, published_classifier
    from cxrserve.training.importing.package import write_package
    from cxrserve.training.importing.weight_file import read_weights

    read = read_weights(checkpoint)
    network = published_classifier(
        architecture, torchvision_names(read.tensors), labels=len(names), scaling=IMAGENET
    )
    name = as_name or f"{architecture}-{'nih14' if names == NIH14 else 'imported'}"
    described = describe(name, architecture, names, side)
    folder = package or Path("models") / name
    return write_package(network, described, read, folder), folder


def label_names(labels: str | None) -> tuple[str, ...]:
    """The names that `--labels` means.

    Raises:
        ImportNotPossible: none, an empty one, or one twice.
    """
    if labels == "nih14":
        return NIH14
    names = tuple(name.strip() for name in (labels or "").split(","))
    if not all(names) or len(set(names)) != len(names):
        raise ImportNotPossible(
            f"labels must be names that differ, with commas between; got {labels!r}",
            advice="pass --labels nih14, or the names in the order of the head's outputs",
        )
    return names


def torchvision_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Names as torchvision has them now: unwrapped, dense layers without dots, one head."""
    renamed = {}
    for key, tensor in tensors.items():
        name = _DOTTED.sub(r"\1\2", _WRAPPED.sub("", key))
        renamed[name] = tensor
    heads = [name for name in renamed if _HEAD.match(name)]
    # One linear layer in a Sequential, with dropout or a sigmoid; two would be another network.
    if len(heads) == 2:
        for name in heads:
            renamed[_HEAD.sub(r"\1.\2", name)] = renamed.pop(name)
    return renamed


def describe(name: str, architecture: str, names: tuple[str, ...], side: int) -> Description:
    """What the package says about itself."""
    return Description(
        name=name,
        description="Findings on a frontal chest radiograph, each by itself "
        f"(an imported {architecture}).",
        labels=labelled(names),
        side=side,
        operating_points={},
        data="An imported checkpoint; what it was trained on is not in the file",
        population="Not in the file; ask who trained it.",
        licence="unknown; ask who published the checkpoint",
        intended_use=INTENDED_USE,
        limitations=(
            "Nothing was measured here, and who trained it on what is not in the file.",
            "It has no operating points: give it thresholds of your own before you act on it.",
            "That the labels are in the order of its outputs was said by who imported it; "
            "the file cannot show it.",
            "Its last layer is taken to be a sigmoid for each label.",
            "Scripts like CheXNet's test resize to 256 and average ten crops of 224; here the "
            "whole middle square is read once.",
        ),
        preprocessing=f"The largest square in the middle is cut out and resized to {side} pixels; "
        "grey is repeated in three channels, scaled as torchvision scales ImageNet.",
        figures=_FIGURES if names == NIH14 else ("None are known here.",),
    )


_FIGURES = (
    "None that are known to belong to this file. Mean AUC of 14 findings on NIH ChestX-ray14: "
    "CheXNet 0.841 on a random split (Rajpurkar et al. 2017), 0.745 on the official split "
    "(Wang et al. 2017, another network). Figures on random splits are too good.",
)
