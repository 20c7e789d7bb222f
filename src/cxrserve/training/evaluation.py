"""What `metrics.json` holds: all that was measured of a run, and what serving takes from it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cxrserve.models.manifest import Calibration, Metric
from cxrserve.training.datasets import UnusableData
from cxrserve.training.recipe import Recipe

METRICS, ROC, PRECISION, RELIABILITY = (
    *("metrics.json", "roc.png", "precision_recall.png"),
    "reliability.png",
)
ALL = "all findings"
"""The label of a figure that is a mean over findings."""


class Evaluation(BaseModel):
    """The whole of `metrics.json`.

    `films` counts films and patients of each split; `operating_points` maps each point to the
    thresholds of the labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe_sha256: str
    data_manifest_sha256: str | None
    calibration: Calibration
    operating_points: dict[str, dict[str, float]]
    films: dict[str, tuple[int, int]]
    metrics: tuple[Metric, ...]

    def figures(self, name: str) -> tuple[Metric, ...]:
        """The metrics of this name, in order."""
        return tuple(metric for metric in self.metrics if metric.name == name)

    def figure(
        self, name: str, *, label: str = ALL, split: str = "test", point: str | None = None
    ) -> Metric:
        """The one metric of this name, label, split and operating point."""
        (found,) = (
            metric
            for metric in self.figures(name)
            if (metric.label, metric.split, metric.operating_point) == (label, split, point)
        )
        return found


def read_evaluation(recipe: Recipe, *, run: Path) -> Evaluation:
    """The evaluation that a run holds.

    Raises:
        UnusableData: there is none, or it is of another recipe.
    """
    path = run / METRICS
    if not path.is_file():
        raise UnusableData(f"the run of {recipe.name} has no {METRICS}", advice="evaluate it first")
    evaluation = Evaluation.model_validate_json(path.read_bytes())
    if evaluation.recipe_sha256 != recipe.sha256:
        raise UnusableData(f"{METRICS} is of another recipe", advice="evaluate it again")
    return evaluation
