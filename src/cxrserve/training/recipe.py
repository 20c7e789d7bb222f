"""A recipe: everything that decides how a network is trained, in one file that is kept with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxrserve.errors import CxrError
from cxrserve.models.manifest import Input, Label, Name, Version

RECIPES = Path(__file__).with_name("recipes")

Share = Annotated[float, Field(ge=0, lt=1)]


class UnusableRecipe(CxrError):
    """A recipe that does not exist or says something that cannot be done."""

    code = "unusable_recipe"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Part):
    """The architecture; `weights` is a file under the data folder that the backbone starts from."""

    architecture: Literal["mobilenetv2"]
    width: Annotated[float, Field(gt=0)] = 0.35
    dropout: Share = 0.0
    weights: str | None = None


class Phase(_Part):
    """Epochs at one side in pixels: small first is quicker, the last phase is the serving side.

    The stem and the first `frozen_blocks` blocks keep their weights; their normalisation
    statistics still follow the images.
    """

    side: Annotated[int, Field(ge=32)]
    epochs: Annotated[int, Field(ge=1)]
    frozen_blocks: Annotated[int, Field(ge=0)] = 0


class Augmentation(_Part):
    """How far a training image may be moved: every figure is the half-width of a uniform range.

    `shift` and `scale` are shares of the side, `contrast` a share of the grey values' spread about
    their mean, `brightness` a share of the full range. Films are never turned over or by 90°.
    """

    rotate_deg: Annotated[float, Field(ge=0, le=30)] = 0.0
    shift: Share = 0.0
    scale: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    mirror: bool = False


class Optimisation(_Part):
    """AdamW (Loshchilov & Hutter 2019) with a linear warm-up and a cosine decay to zero."""

    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up_epochs: Annotated[float, Field(ge=0)] = 0.5
    label_smoothing: Share = 0.0
    batch: Annotated[int, Field(ge=2)]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def phase_of(self, epoch: int) -> Phase:
        """The phase that epoch number `epoch` (from 0) belongs to."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        raise IndexError(epoch)


class OperatingPoint(_Part):
    """How a threshold is chosen on the validation split.

    `sensitivity` and `specificity` demand `at_least` that much, `youden` wants the largest
    sensitivity + specificity - 1; `metrics.threshold_of` has the whole of it.
    """

    rule: Literal["sensitivity", "specificity", "youden"]
    at_least: Annotated[float, Field(ge=0, le=1)] | None = None


class OutOfSource(_Part):
    """Images of another source without the disease: what share of them is called positive."""

    name: str
    task: str
    split: Literal["train", "val", "test"] = "test"
    youngest_years: float = 0.0


class Words(_Part):
    """What only a person can say about the model."""

    description: str
    population: str
    data: str
    licence: str
    intended_use: str
    limitations: tuple[str, ...]
    age_bands: tuple[str, ...]


class Recipe(_Part):
    """The whole recipe."""

    name: Name
    version: Version
    seed: int
    task: Literal["multi-class"]
    dataset: str
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]
    input: Input
    network: Network
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    out_of_source: tuple[OutOfSource, ...] = ()
    words: Words

    @model_validator(mode="after")
    def _ends_as_it_is_served(self) -> Recipe:
        last = self.optimisation.phases[-1].side
        if last != self.input.side:
            raise ValueError(f"the last phase trains at side {last}, served is {self.input.side}")
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"there is no operating point {self.default_operating_point!r}")
        return self

    @property
    def finding(self) -> int:
        """Index of the one label that is a finding."""
        (index,) = (i for i, label in enumerate(self.labels) if label.finding)
        return index

    @property
    def sha256(self) -> str:
        """Digest of all that the recipe says, the same for any layout of its file."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def training_sha256(self) -> str:
        """Digest of what decides the weights: a checkpoint survives a change of the words."""
        decides = self.model_dump_json(
            include={"seed", "task", "dataset", "input", "network", "augmentation", "optimisation"}
        )
        names = "|".join(label.name for label in self.labels)
        return hashlib.sha256(f"{names}:{decides}".encode()).hexdigest()


def read_recipe(name: str) -> Recipe:
    """The recipe of this name among the package's own, or in the YAML file at this path.

    Raises:
        UnusableRecipe: there is none, or it does not validate.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise UnusableRecipe(f"there is no recipe {name!r}", advice=f"known recipes: {known}")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as fault:
        raise UnusableRecipe(f"the recipe {name!r} is wrong: {fault}") from fault
