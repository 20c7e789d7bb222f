"""TorchXRayVision's published DenseNet-121 (Cohen et al. 2022, arXiv 2111.00595).

Names, files, trained outputs and operating points are those of `torchxrayvision/models.py`
(github.com/mlmed/torchxrayvision). All have 18 outputs in one order; those of diseases that a data
set does not know were never trained. Facts only: torch is imported when weights are read.
"""

# ruff: noqa: PLC0415 - a late import keeps torch out of the command line's start

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

from cxrserve.training.importing.errors import ImportNotPossible, UnusableWeights
from cxrserve.training.importing.package import INTENDED_USE, Description, labelled

if TYPE_CHECKING:
    from torch import Tensor

    from cxrserve.models.manifest import Manifest

SIDE = 224
PATHOLOGIES = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
_PREFIX = "densenet121-res224-"
_SUFFIX = "densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@dataclass(frozen=True, slots=True)
class Release:
    """One published file.

    Attributes:
        name: what TorchXRayVision calls the weights, after `densenet121-res224-`.
        begins: how the file's name begins; all end alike.
        data: what it was trained on.
        thresholds: probability at its operating point for each of `PATHOLOGIES`; NaN where that
            output was not trained.
    """

    name: str
    begins: str
    data: str
    thresholds: tuple[float, ...]

    @property
    def file(self) -> str:
        """Name of the file in the release."""
        return f"{self.begins}-{_SUFFIX}"

    @property
    def trained(self) -> tuple[bool, ...]:
        """Whether each output was trained; the published lists of labels agree."""
        return tuple(not isnan(threshold) for threshold in self.thresholds)


# fmt: off
RELEASES = {
    release.name: release
    for release in (
        Release(
            "all", "nih-pc-chex-mimic_ch-google-openi-kaggle",
            "NIH ChestX-ray14, PadChest, CheXpert, MIMIC-CXR (CheXpert labeller), Google's labels "
            "of NIH films, Open-i, RSNA Pneumonia Challenge",
            (0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358,
             0.010060724, 0.103246614, 0.056810737, 0.026791653, 0.050318155, 0.023985857,
             0.01939503, 0.042889766, 0.053369623, 0.035975814, 0.20204692, 0.05015312),
        ),
        Release(
            "rsna", "kaggle", "RSNA Pneumonia Challenge",
            (nan, nan, nan, nan, nan, nan, nan, nan, 0.13486601,
             nan, nan, nan, nan, nan, nan, nan, 0.13511065, nan),
        ),
        Release(
            "nih", "nih", "NIH ChestX-ray14",
            (0.039117552, 0.0034529066, 0.11396341, 0.0057298196, 0.00045666535, 0.0018880932,
             0.012037827, 0.038744126, 0.0037213727, 0.014730946, 0.016149804, 0.054241467,
             0.037198864, 0.0004403434, nan, nan, nan, nan),
        ),
        Release(
            "pc", "pc", "PadChest",
            (0.031012505, 0.013347598, 0.081435576, 0.001262615, 0.002587246, 0.0035944257,
             0.0023071, 0.055412333, 0.044385884, 0.042766232, 0.043258056, 0.037629247,
             0.005658899, 0.0091741895, nan, 0.026507627, nan, nan),
        ),
        Release(
            "chex", "chex", "CheXpert",
            (0.1988969, 0.05710573, nan, 0.0531293, 0.1435217, nan, nan, 0.27212676, 0.07749717,
             nan, 0.19712369, nan, nan, nan, 0.09932402, 0.09273402, 0.3270967, 0.10888247),
        ),
        Release(
            "mimic_nb", "mimic_nb", "MIMIC-CXR (NegBio labeller)",
            (0.08558747, 0.011884617, nan, 0.0040595434, 0.010733786, nan, nan, 0.118761964,
             0.022924708, nan, 0.06358637, nan, nan, nan, 0.022143636, 0.017476924, 0.1258702,
             0.014020768),
        ),
        Release(
            "mimic_ch", "mimic_ch", "MIMIC-CXR (CheXpert labeller)",
            (0.09121389, 0.010573786, nan, 0.005023008, 0.003698257, nan, nan, 0.08001232,
             0.037242252, nan, 0.05006329, nan, nan, nan, 0.019866971, 0.03823637, 0.11303808,
             0.0069147074),
        ),
    )
}
# fmt: on

# TorchXRayVision's BENCHMARKS.md, "Results updated: 06/27/2021": XRV-DenseNet121-…-all.
_BENCHMARKS = {
    "PadChest": "Atelectasis 0.77, Cardiomegaly 0.93, Consolidation 0.88, Effusion 0.95, "
    "Nodule 0.69, Pneumonia 0.82, Pneumothorax 0.81",
    "RSNA": "Lung Opacity 0.88, Pneumonia 0.86",
    "SIIM": "Pneumothorax 0.79",
    "VinBrain": "Atelectasis 0.67, Cardiomegaly 0.90, Effusion 0.87, Pneumothorax 0.93",
    "CheXpert": "Atelectasis 0.91, Cardiomegaly 0.91, Edema 0.92, Effusion 0.94, Pneumonia 0.84, "
    "Pneumothorax 0.85",
}
_MINED = "Most labels were mined from reports by programs and are often wrong."


def release_of(name: str) -> Release:
    """The release of a name such as `densenet121-res224-all`, or `all`.

    Raises:
        ImportNotPossible: TorchXRayVision has no such weights, or they are not read here.
    """
    release = RELEASES.get(name.removeprefix(_PREFIX))
    if release is None:
        known = ", ".join(_PREFIX + one for one in RELEASES)
        raise ImportNotPossible(
            f"TorchXRayVision weights {name!r} are not known here", advice=f"choose one of: {known}"
        )
    return release


def import_torchxrayvision(
    name: str, weights: Path | None, *, package: Path | None, as_name: str | None = None
) -> tuple[Manifest, Path]:
    """Make a package of a published file.

    Args:
        name: `densenet121-res224-all`, or another of `RELEASES`.
        weights: the file, fetched by hand; nothing is ever downloaded.
        package: the folder to write; none for `models/<name of the package>`.
        as_name: the package's name; none for `xrv-densenet121-<name>`.

    Returns:
        What `model.yaml` says, and the folder.

    Raises:
        ImportNotPossible: unknown name, or no file was given.
        UnsafeWeights, UnusableWeights: see `read_weights`; also where it is another network.
        BrokenPackage: the graph disagrees with the network.
    """
    release = release_of(name)
    if weights is None:
        raise ImportNotPossible(
            f"nothing is downloaded: the weights of {_PREFIX}{release.name} are the file "
            f"{release.file} of the release tagged v1 on TorchXRayVision's GitHub page "
            "(mlmed/torchxrayvision, Releases)",
            advice="fetch it and pass it with --weights FILE",
        )
    from cxrserve.training.importing.networks import Scaling, published_classifier
    from cxrserve.training.importing.package import write_package
    from cxrserve.training.importing.weight_file import read_weights

    read = read_weights(weights)
    state = {key.removeprefix("module."): tensor for key, tensor in read.tensors.items()}
    thresholds = _thresholds(release, state.pop("op_threshs", None))
    network = published_classifier(
        "densenet121",
        state,
        labels=len(PATHOLOGIES),
        # 2 (x / 255) - 1, times 1024: torchxrayvision.utils.normalize.
        scaling=Scaling(mean=(0.5,), spread=(1 / 2048,)),
    )
    described = describe(release, thresholds, as_name)
    folder = package or Path("models") / described.name
    return write_package(network, described, read, folder), folder


def describe(release: Release, thresholds: tuple[float, ...], name: str | None) -> Description:
    """What the package says about itself."""
    untrained = [p for p, was in zip(PATHOLOGIES, release.trained, strict=True) if not was]
    masked = f"Outputs never trained, answered with null: {', '.join(untrained)}."
    return Description(
        name=name or f"xrv-densenet121-{release.name.replace('_', '-')}",
        description="Findings on a frontal chest radiograph, each by itself "
        f"(TorchXRayVision {_PREFIX}{release.name}).",
        labels=labelled(PATHOLOGIES, trained=release.trained),
        side=SIDE,
        operating_points={
            "published": {
                label: threshold
                for label, threshold, was in zip(
                    PATHOLOGIES, thresholds, release.trained, strict=True
                )
                if was and not isnan(threshold)
            }
        },
        data=f"TorchXRayVision {_PREFIX}{release.name}, trained by its authors on: {release.data}",
        population="That of the data sets named; mostly adults, frontal films. Not described in "
        "the release.",
        licence="Apache-2.0 (TorchXRayVision's models; no other is named for their weights); the "
        "data sets have terms of their own, some for research only",
        intended_use=INTENDED_USE,
        limitations=(
            "Nothing was measured here; published figures are on other images than yours.",
            "Probabilities are the raw sigmoid. TorchXRayVision shows them bent so that its "
            "operating point reads 0.5; here the operating point `published` holds that "
            "threshold instead, and the decision is the same.",
            *((_MINED,) if release.name != "rsna" else ()),
            "Frontal films only; children, lateral views and photographs of films are outside.",
            "Films are resampled by another filter than in training (Pillow's bilinear with "
            "antialiasing; skimage's resize there).",
            *((masked,) if untrained else ()),
        ),
        preprocessing="The largest square in the middle is cut out and resized to 224 pixels; grey "
        "0..255 becomes -1024..1024; one channel.",
        figures=_figures(release),
    )


def _figures(release: Release) -> tuple[str, ...]:
    if release.name != "all":
        return ("None that belong to this file alone are known here.",)
    return (
        "AUC of these weights by TorchXRayVision's BENCHMARKS.md of 27 June 2021. Part of these "
        "sets was trained on.",
        *(f"{where}: {figures}." for where, figures in _BENCHMARKS.items()),
    )


def _thresholds(release: Release, stored: Tensor | None) -> tuple[float, ...]:
    """Those in the file, where it has them; else those that the release's code names."""
    if stored is None:
        return release.thresholds
    if stored.shape != (len(PATHOLOGIES),):
        raise UnusableWeights(
            f"op_threshs has shape {tuple(stored.shape)}, the network expects {(len(PATHOLOGIES),)}"
        )
    return tuple(float(value) for value in stored)
