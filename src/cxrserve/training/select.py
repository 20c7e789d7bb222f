"""Choose one of several trained networks: by what it finds on `val`, and by how fast it is."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxrserve.models.manifest import Manifest, Name, Version
from cxrserve.training import metrics
from cxrserve.training.datasets import Examples, load_examples
from cxrserve.training.evaluate import evaluate
from cxrserve.training.export import export
from cxrserve.training.graphs import outputs_of, write_graph
from cxrserve.training.networks.build import trained_classifier
from cxrserve.training.recipe import RECIPES, Recipe, UnusableRecipe, read_recipe

log = logging.getLogger(__name__)

SELECTION = "selection.json"
_TIMED_RUNS = 60


class Selection(BaseModel):
    """What is chosen from, and the rule: a YAML file in `recipes/selections/`.

    The quickest candidate wins among those whose mean validation AUC is within `tolerance` of the
    best, so that a difference the validation split cannot show costs nobody time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    version: Version
    candidates: tuple[str, ...] = Field(min_length=2)
    tolerance: float = Field(ge=0, lt=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A trained network on the validation split and on this machine.

    Attributes:
        auc: mean over the findings, with its interval by patient.
        latency_ms: median of one film, ONNX Runtime, fp32, one thread.
    """

    recipe: str
    auc: float
    low: float
    high: float
    latency_ms: float
    megabytes: float
    chosen: bool = False


def read_selection(name: str) -> Selection:
    """The selection of this name.

    Raises:
        UnusableRecipe: there is none, or it does not validate.
    """
    path = Path(name) if name.endswith(".yaml") else RECIPES / "selections" / f"{name}.yaml"
    try:
        return Selection.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValidationError, yaml.YAMLError) as fault:
        raise UnusableRecipe(f"there is no usable selection {name!r}: {fault}") from fault


def select(
    selection: Selection, *, data: Path, runs: Path, package: Path
) -> tuple[Manifest, tuple[Candidate, ...]]:
    """Measure the candidates, and write the package of the one that wins.

    Args:
        runs: folder of the candidates' runs; each has been trained.
        package: the folder to write; `selection.json` in it holds every candidate.

    Raises:
        UnusableData: a candidate has not been trained.
    """
    recipes = [read_recipe(name) for name in selection.candidates]
    measured = [_measured(recipe, data, runs) for recipe in recipes]
    best = max(candidate.auc for candidate in measured)
    good_enough = [one for one in measured if one.auc >= best - selection.tolerance]
    winner = min(good_enough, key=lambda one: one.latency_ms)
    (recipe,) = (recipe for recipe in recipes if recipe.name == winner.recipe)
    run = runs / recipe.name
    evaluate(recipe, data=data, run=run)
    candidates = tuple(
        Candidate(**{**asdict(one), "chosen": one is winner})
        for one in sorted(measured, key=lambda one: -one.auc)
    )
    told = {"tolerance": selection.tolerance, "candidates": [asdict(one) for one in candidates]}
    (run / SELECTION).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    manifest = export(
        recipe,
        data=data,
        run=run,
        package=package,
        name=selection.name,
        version=selection.version,
        also=(SELECTION,),
        preface=_told(selection, candidates),
    )
    return manifest, candidates


def _measured(recipe: Recipe, data: Path, runs: Path) -> Candidate:
    run = runs / recipe.name
    graph = run / "model.onnx"
    write_graph(trained_classifier(recipe, run=run), graph, side=recipe.input.side)
    held_out = load_examples(data, recipe, "val")
    (logits,) = outputs_of(graph, held_out.pixels[:, None], ["logits"])
    found = metrics.interval(
        _mean_auc(recipe, held_out, logits), held_out.patients, seed=recipe.seed, resamples=300
    )
    candidate = Candidate(
        recipe=recipe.name,
        auc=found.value,
        low=found.low,
        high=found.high,
        latency_ms=round(_latency_ms(graph, held_out.pixels[:1, None]), 2),
        megabytes=round(graph.stat().st_size / 1e6, 1),
    )
    log.info("%s", candidate)
    return candidate


def _mean_auc(recipe: Recipe, examples: Examples, logits: metrics.Floats) -> metrics.Statistic:
    odds = metrics.log_odds(recipe, logits)
    curves = [
        metrics.Curve(np.asarray(examples.targets[:, k] == 1), odds[:, k]) for k in recipe.findings
    ]
    return lambda weights: float(np.nanmean([curve.auc(weights) for curve in curves]))


def _latency_ms(graph: Path, pixels: NDArray[np.uint8]) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        session.run(None, {"pixels": pixels})
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e3)


def _told(selection: Selection, candidates: tuple[Candidate, ...]) -> str:
    rows = (
        f"| {'**' if one.chosen else ''}{one.recipe}{'**' if one.chosen else ''} "
        f"| {one.auc:.4f} ({one.low:.4f}–{one.high:.4f}) | {one.latency_ms:.1f} "
        f"| {one.megabytes:.1f} |"
        for one in candidates
    )
    return "\n".join(
        (
            "## Chosen from",
            "",
            "The quickest of the candidates whose mean AUC on `val` is within "
            f"{selection.tolerance} of the best (`cxrserve select --selection {selection.name}`).",
            "",
            "| candidate | mean AUC on `val` | ms a film (one thread) | MB (fp32) |",
            "|---|---|---|---|",
            *rows,
            "",
        )
    )
