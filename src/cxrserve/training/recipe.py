"""A recipe: everything that decides how a network is trained, in one file that is kept with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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


class Source(_Part):
    """Films of one task of the manifest, and which of the model's labels theirs are.

    `meaning` maps a film's label to the model's, the first that applies; `""` stands for a film
    without labels. Films that nothing applies to are left out. Without `meaning` (multi-label) the
    names are the same, and a film without labels has no finding.
    """

    task: str
    meaning: dict[str, str] | None = None


class Network(_Part):
    """The architecture.

    Attributes:
        weights: what the backbone starts from: a file under the data folder (Keras's MobileNetV2),
            `imagenet` (EfficientNet-lite), `run:NAME` for another recipe's run; None: drawn.
        output_stride: pixels a cell of the map (MobileNetV2).
        lungs_from: recipe of the segmentation network that hides all but the lungs.
    """

    architecture: Literal[
        "mobilenetv2",
        "densenet121",
        "resnet50",
        "plain-cnn",
        "efficientnet-lite0",
        "unet",
    ]
    width: Annotated[float, Field(gt=0)] = 0.35
    dropout: Share = 0.0
    weights: str | None = None
    output_stride: Literal[16, 32] = 32
    lungs_from: str | None = None


class Distillation(_Part):
    """Learn from a trained network as well (Hinton et al. 2015), on the same moved images.

    `unlabelled` are tasks whose films are read by the teacher alone.
    """

    teachers: Annotated[tuple[str, ...], Field(min_length=1)]
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0
    unlabelled: tuple[str, ...] = ()


class Grading(_Part):
    """Two labels of films that a second linear head tells apart, in training only.

    Both lie inside one source, so no source explains them; what they need of the features is
    learned along with the classes.
    """

    positive: str
    negative: str
    weight: Annotated[float, Field(gt=0)] = 0.3


class Loss(_Part):
    """What is minimised; the formulas are in `losses.py`.

    Attributes:
        kind: `weighted`: rare labels weigh more, as CheXNet's; `focal`: easy films weigh less.
        attention: weight of the loss that draws the map of `attention_label` into the boxes.
        erased: share of films with boxes that are shown with every box painted over, and are then
            no example of `attention_label`; other films are painted over at random, unchanged.
    """

    kind: Literal["weighted", "focal"] = "weighted"
    label_smoothing: Share = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    attention: Annotated[float, Field(ge=0)] = 0.0
    attention_label: str | None = None
    erased: Share = 0.0
    grading: Grading | None = None
    distillation: Distillation | None = None


class Contrast(_Part):
    """Some labels against others among films of one source, as the literature gives its figures.

    The score is log-sum-exp of the one side's logits minus that of the other's.
    """

    name: str
    task: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


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
    their mean, `brightness` and `grain` (Gaussian noise) shares of the full range; `coarsen` is the
    largest share of its resolution that a film may lose. Films are never turned over or by 90°.
    """

    rotate_deg: Annotated[float, Field(ge=0, le=30)] = 0.0
    shift: Share = 0.0
    scale: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    coarsen: Share = 0.0
    grain: Share = 0.0
    mirror: bool = False


class Optimisation(_Part):
    """AdamW (Loshchilov & Hutter 2019) with a linear warm-up and a cosine decay to zero.

    With `films_per_epoch` an epoch draws that many films, every label equally often and within it
    every source; without, each film comes once. `draw` shows a label more often than that and makes
    each of its films count that much less, so the network learns more of it and the probabilities
    still assume equally frequent classes.
    """

    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up_epochs: Annotated[float, Field(ge=0)] = 0.5
    batch: Annotated[int, Field(ge=2)]
    films_per_epoch: Annotated[int, Field(ge=2)] | None = None
    draw: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
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


class Shortcuts(_Part):
    """What to measure of a network that could know the source instead of the disease.

    Attributes:
        label: the label all of whose films come from one source.
        outliner: recipe of the network whose lung masks are blacked out.
        normal: the label that several sources have, for telling sources apart without a disease.
    """

    label: str
    outliner: str = "lungs-unet"
    normal: str = "normal"


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
    """The whole recipe.

    `precisions` are the graphs that the package holds; `export --precision` adds others.
    `lung_masks` says where the masks that a segmentation network learned from end.
    """

    name: Name
    version: Version
    seed: int
    task: Literal["multi-class", "multi-label", "segmentation"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    input: Input
    network: Network
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation
    operating_points: dict[str, OperatingPoint] = Field(default_factory=dict)
    default_operating_point: str | None = None
    contrasts: tuple[Contrast, ...] = ()
    out_of_source: tuple[OutOfSource, ...] = ()
    shortcuts: Shortcuts | None = None
    precisions: Annotated[tuple[Literal["fp32", "fp16", "int8"], ...], Field(min_length=1)] = (
        "fp32",
        "int8",
    )
    lung_masks: Literal["end_at_heart", "reach_behind_heart"] | None = None
    words: Words

    @model_validator(mode="after")
    def _ends_as_it_is_served(self) -> Recipe:
        last = self.optimisation.phases[-1].side
        if last != self.input.side:
            raise ValueError(f"the last phase trains at side {last}, served is {self.input.side}")
        default = self.default_operating_point
        if default is not None and default not in self.operating_points:
            raise ValueError(f"there is no operating point {default!r}")
        names = {label.name for label in self.labels}
        for source in self.sources:
            unknown = set((source.meaning or {}).values()) - names
            if unknown:
                raise ValueError(f"source {source.task!r} means unknown labels {sorted(unknown)}")
        how = self.optimisation
        if unknown := set(how.draw) - names:
            raise ValueError(f"draw names unknown labels {sorted(unknown)}")
        if how.draw and (how.films_per_epoch is None or self.task != "multi-class"):
            raise ValueError("draw needs films_per_epoch and exclusive classes")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def findings(self) -> tuple[int, ...]:
        """Indices of the labels that are findings and are trained."""
        return tuple(i for i, label in enumerate(self.labels) if label.finding and label.trained)

    @property
    def sha256(self) -> str:
        """Digest of all that the recipe says, the same for any layout of its file."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()

    @property
    def training_sha256(self) -> str:
        """Digest of what decides the weights: a checkpoint survives a change of the words."""
        parts = {
            *("seed", "task", "sources", "input", "network", "augmentation", "loss"),
            "optimisation",
        }
        decides = self.model_dump_json(include=parts, exclude_defaults=True)
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


def recipe_of(sha256: str | None) -> Recipe:
    """The recipe of the package's own that has this digest, as packages name theirs.

    Raises:
        UnusableRecipe: none has it.
    """
    for path in RECIPES.glob("*.yaml"):
        recipe = read_recipe(path.stem)
        if recipe.sha256 == sha256:
            return recipe
    raise UnusableRecipe("no recipe here has this digest", advice="name one with --recipe")
