"""MODEL_CARD.md: what a person must know before they believe the model."""

from __future__ import annotations

from collections.abc import Iterator

from cxrserve.models.manifest import Interval, Metric
from cxrserve.training.evaluate import Evaluation
from cxrserve.training.recipe import Recipe


def model_card(recipe: Recipe, evaluation: Evaluation) -> str:
    """The card as Markdown: limits first, then figures, then how it was made."""
    return "\n".join(
        (
            f"# {recipe.name} {recipe.version}",
            "",
            f"**{recipe.words.intended_use}**",
            "",
            recipe.words.description,
            "",
            "## Limits, first",
            "",
            *(f"- {limit}" for limit in recipe.words.limitations),
            _thumbnail(evaluation),
            *_elsewhere(recipe, evaluation),
            "",
            "## Figures on the test split",
            "",
            *_figures(recipe, evaluation),
            "",
            "![ROC curve](roc.png) ![Reliability](reliability.png)",
            "",
            "## How it was made",
            "",
            *_making(recipe, evaluation),
            "",
        )
    )


def _thumbnail(evaluation: Evaluation) -> str:
    return (
        "- **The test is easy**: a linear model of 16×16 thumbnails reaches an AUC of "
        f"{_plain(evaluation.figure('auc_of_a_thumbnail'))} on the same split. Coarse brightness "
        "and posture alone nearly separate the classes; the network's AUC is no proof that it "
        "reads the lungs in detail."
    )


def _elsewhere(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    finding = recipe.labels[recipe.finding].name
    for metric in evaluation.metrics:
        if metric.name == "called_positive":
            yield (
                f"- **Outside its source it fails**: of {metric.images} {metric.split}, it calls "
                f"{_percent(metric.interval)} {finding} at the operating point "
                f"`{metric.operating_point}`. Every one of these is a false alarm."
            )


def _figures(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    films, patients = evaluation.films["test"]
    yield (
        f"{films} images of {patients} patients whom the network never saw in training. Intervals "
        "are 95 % bootstrap intervals, patients drawn with replacement (2,000 draws); where "
        "nothing was wrong, the open end is the exact binomial bound of that many patients."
    )
    yield ""
    yield f"AUC: **{_plain(evaluation.figure('auc'))}**"
    yield ""
    yield "| operating point | threshold | sensitivity | specificity | chosen on `val` by |"
    yield "|---|---|---|---|---|"
    finding = recipe.labels[recipe.finding].name
    for point, rule in recipe.operating_points.items():
        threshold = evaluation.operating_points[point][finding]
        sensitivity = evaluation.figure("sensitivity", point=point)
        specificity = evaluation.figure("specificity", point=point)
        chosen = rule.rule if rule.at_least is None else f"{rule.rule} ≥ {rule.at_least:.0%}"
        default = " (default)" if point == recipe.default_operating_point else ""
        yield (
            f"| {point}{default} | {threshold:.4f} | {_percent(sensitivity.interval)} "
            f"| {_percent(specificity.interval)} | {chosen} |"
        )
    yield ""
    yield (
        "A demand is met with the surplus spent in its favour (see docs/training.md). "
        "The validation split is small and nearly separable, so thresholds are uncertain."
    )
    yield ""
    yield (
        f"Expected calibration error (15 bins): {_plain(evaluation.figure('ece_uncalibrated'))} "
        f"before, {_plain(evaluation.figure('ece'))} after temperature scaling "
        f"(T = {evaluation.temperature}, fitted on `val`)."
    )


def _making(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    how = recipe.optimisation
    phases = ", then ".join(
        f"{phase.epochs} epochs at {phase.side} px"
        + (f" with the first {phase.frozen_blocks} blocks fixed" if phase.frozen_blocks else "")
        for phase in how.phases
    )
    yield f"- Network: {recipe.network.architecture}, width {recipe.network.width}"
    if recipe.network.weights is not None:
        yield "- Started from: a backbone trained on ImageNet"
    yield f"- Data: {recipe.words.data}"
    yield f"- People: {recipe.words.population}"
    yield f"- Training: AdamW, learning rate {how.learning_rate}, batch {how.batch}, {phases}"
    yield (
        "- Loss: cross-entropy with label smoothing "
        f"{how.label_smoothing}, classes weighted by N / (K · N_c)"
    )
    yield f"- Age bands it is meant for (years): {', '.join(recipe.words.age_bands)}"
    yield f"- Licence: {recipe.words.licence}"
    yield f"- Seed {recipe.seed}; recipe sha256 `{recipe.sha256}`"
    yield f"- Data manifest sha256 `{evaluation.data_manifest_sha256}`"


def _plain(metric: Metric) -> str:
    figure = metric.interval
    return f"{figure.value:.4f} ({figure.low:.4f}–{figure.high:.4f})"


def _percent(figure: Interval) -> str:
    return f"{figure.value:.1%} ({figure.low:.1%}–{figure.high:.1%})"
