"""MODEL_CARD.md: what a person must know before they believe the model."""

from __future__ import annotations

from collections.abc import Iterator

from cxrserve.models.manifest import Interval, Metric
from cxrserve.training import anchors
from cxrserve.training.evaluation import ALL, Evaluation
from cxrserve.training.recipe import Recipe

# From this AUC on a thumbnail explains most of the figure.
_EASY = 0.9
# Above this the sources are told apart, or the label is, by more than the disease.
_LEAKS = 0.65


def model_card(recipe: Recipe, evaluation: Evaluation, *, preface: str = "") -> str:
    """The card as Markdown: what it may know instead, limits, figures, how it was made."""
    lines = (
        f"# {recipe.name} {recipe.version}",
        "",
        f"**{recipe.words.intended_use}**",
        "",
        recipe.words.description,
        "",
        *_shortcuts(evaluation),
        *([preface] if preface else []),
        "## Limits, first",
        "",
        *(f"- {limit}" for limit in recipe.words.limitations),
        *_untrained(recipe),
        *_thumbnail(evaluation),
        *_elsewhere(evaluation),
        "",
        "## Figures on the test split",
        "",
        *(_masks(evaluation) if recipe.task == "segmentation" else _figures(recipe, evaluation)),
        *_precisions(recipe, evaluation),
        "## How it was made",
        "",
        *_making(recipe, evaluation),
        "",
    )
    return "\n".join(lines)


def _shortcuts(evaluation: Evaluation) -> Iterator[str]:
    """What is left when the disease is taken away: this leads, before any flattering AUC."""
    told = {
        "auc_without_lungs": "AUC of {label} against all else with the lungs painted black "
        "(0.5: nothing but the lungs is used; above {leaks}: the source leaks)",
        "auc_without_lungs_by_source": "the same of {label}",
        "auc_lesions_against_none": "AUC of films of {label} against the same films with every "
        "lesion painted over (0.5: the lesions do not matter to it)",
        "auc_active_against_latent": "AUC of active against latent {label}, a linear head on its "
        "features (inside one source, so no source explains it)",
        "auc_source": "AUC at telling sources apart, {label}, a linear probe of its features "
        "(0.5: it cannot)",
        "map_peak_in_box": "Share of films of {label} whose map peaks inside a reader's box",
    }
    if not evaluation.figures("auc_without_lungs"):
        return
    yield "## Does it know the disease or the place?"
    yield ""
    yield "| figure | value (95 % interval) | films |"
    yield "|---|---|---|"
    for name, words in told.items():
        for metric in evaluation.figures(name):
            said = words.format(label=metric.label, leaks=_LEAKS)
            yield f"| {said} | **{_plain(metric.interval)}** | {metric.images} |"
    yield ""


def _untrained(recipe: Recipe) -> Iterator[str]:
    names = [label.name for label in recipe.labels if not label.trained]
    if names:
        yield f"- Not trained, and answered with null: {', '.join(names)}."


def _thumbnail(evaluation: Evaluation) -> Iterator[str]:
    for metric in evaluation.figures("auc_of_a_thumbnail"):
        reached = _plain(metric.interval)
        if metric.interval.value >= _EASY:
            yield (
                f"- **The test is easy**: a linear model of 16×16 thumbnails reaches a mean AUC of "
                f"{reached} on the same split. Coarse brightness and posture alone nearly separate "
                "the classes; the network's AUC is no proof that it reads the lungs in detail."
            )
        else:
            yield (
                f"- A linear model of 16×16 thumbnails reaches a mean AUC of {reached} on the same "
                "split: that much comes from posture, exposure and field."
            )


def _elsewhere(evaluation: Evaluation) -> Iterator[str]:
    for metric in evaluation.figures("called_positive"):
        verdict = "Outside its source it fails" if metric.interval.value > 0.2 else "Elsewhere"
        yield (
            f"- **{verdict}**: of {metric.images} {metric.split}, it calls "
            f"{_percent(metric.interval)} positive for some finding at the operating point "
            f"`{metric.operating_point}`. Every one of these is a false alarm."
        )


def _figures(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    yield from _people(evaluation)
    yield f"Mean AUC over findings: **{_plain(evaluation.figure('auc').interval)}**"
    published = recipe.names[0] in anchors.AUC
    if published:
        yield (
            f"(published on the full data: Wang et al. 2017 {anchors.MEAN_AUC[0]}, "
            f"CheXNet {anchors.MEAN_AUC[1]})"
        )
    yield ""
    for metric in evaluation.figures("auc"):
        if metric.label not in (*recipe.names, ALL):
            yield (
                f"- AUC of {metric.label} ({metric.split}, {metric.images} films): "
                f"**{_plain(metric.interval)}**"
            )
    yield ""
    point = recipe.default_operating_point
    more = "| Wang 2017 | CheXNet " if published else ""
    yield (
        f"| finding | films with it | AUC {more}| average precision | threshold `{point}` "
        "| sensitivity | specificity |"
    )
    yield f"|---|---|---|{'---|---|' if published else ''}---|---|---|---|"
    for metric in evaluation.figures("auc"):
        if metric.split == "test" and metric.label in recipe.names:
            yield _row(recipe, evaluation, metric, published=published)
    yield ""
    yield from _points(recipe, evaluation)
    yield from _groups(evaluation)
    yield from _located(recipe, evaluation)
    before, after = (evaluation.figure(name).interval for name in ("ece_uncalibrated", "ece"))
    how = {"temperature": f"temperature scaling, T = {evaluation.calibration.temperature}"}
    yield (
        f"Expected calibration error (15 bins, mean over findings): {_plain(before)} before, "
        f"{_plain(after)} after calibration "
        f"({how.get(evaluation.calibration.method, 'Platt scaling of each finding')}, "
        "fitted on `val`)."
    )
    yield ""
    for metric in evaluation.figures("grad_cam_difference"):
        yield (
            f"The map is Grad-CAM: on {metric.images} films the two, each divided by its largest "
            f"value, differ by at most {metric.interval.value:.1e}."
        )
        yield ""
    yield "![ROC](roc.png) ![Precision-recall](precision_recall.png)"
    yield "![Reliability](reliability.png)"
    yield ""


def _people(evaluation: Evaluation) -> Iterator[str]:
    films, patients = evaluation.films["test"]
    yield (
        f"{films} films of {patients} patients whom the network never saw in training. Intervals "
        "are 95 % bootstrap intervals, patients drawn with replacement (1,000 draws); where "
        "nothing was wrong, the open end is the exact binomial bound of that many patients."
    )
    yield ""


def _row(recipe: Recipe, evaluation: Evaluation, auc: Metric, *, published: bool) -> str:
    label, point = auc.label, recipe.default_operating_point or ""
    wang, chexnet = anchors.AUC.get(label, (0.0, 0.0))
    cells = [
        label,
        f"{evaluation.figure('positives', label=label).interval.value:.0f} of {auc.images}",
        _plain(auc.interval),
        *([f"{wang:.3f}", f"{chexnet:.3f}"] if published else []),
        _plain(evaluation.figure("average_precision", label=label).interval),
    ]
    threshold = evaluation.operating_points.get(point, {}).get(label)
    if threshold is None:
        cells += ["none", "", ""]
    else:
        found = (
            evaluation.figure(name, label=label, point=point).interval
            for name in ("sensitivity", "specificity")
        )
        cells += [f"{threshold:.4f}", *map(_percent, found)]
    return f"| {' | '.join(cells)} |"


def _points(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    if not recipe.operating_points:
        return
    for point, rule in recipe.operating_points.items():
        chosen = rule.rule if rule.at_least is None else f"{rule.rule} ≥ {rule.at_least:.0%}"
        found = {
            name: [
                metric.interval.value
                for metric in evaluation.figures(name)
                if metric.operating_point == point
            ]
            for name in ("sensitivity", "specificity")
        }
        means = ", ".join(f"{name} {sum(v) / len(v):.1%}" for name, v in found.items() if v)
        yield f"- `{point}` ({chosen} on `val`): on the test split, mean {means}"
    yield ""
    yield (
        "A demand is met with the surplus spent in its favour (see docs/training.md). The "
        "validation split is small, so thresholds are uncertain."
    )
    yield ""


def _groups(evaluation: Evaluation) -> Iterator[str]:
    rows = [m for m in evaluation.figures("auc") if m.label == ALL and m.split != "test"]
    if not rows:
        return
    yield "| group of the test split | films | mean AUC |"
    yield "|---|---|---|"
    for metric in rows:
        name = metric.split.removeprefix("test, ")
        yield f"| {name} | {metric.images} | {_plain(metric.interval)} |"
    yield ""


def _located(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    peaks = evaluation.figures("map_peak_in_box")
    if not peaks:
        return
    columns = " | ".join(f"T(IoU) {at}" for at in anchors.LOCATED_AT)
    yield f"| located: finding (films with boxes) | peak in box | {columns} |"
    yield f"|---|---|{'---|' * len(anchors.LOCATED_AT)}"
    for peak in peaks:
        at = [
            evaluation.figure(f"located_at_iou_{overlap}", label=peak.label, split=peak.split)
            for overlap in anchors.LOCATED_AT
        ]
        cells = " | ".join(f"{metric.interval.value:.2f}" for metric in at)
        yield (
            f"| {peak.label} ({peak.split}, {peak.images}) | {peak.interval.value:.2f} | {cells} |"
        )
        if peak.label in anchors.LOCATED:
            wang = " | ".join(f"{value:.2f}" for value in anchors.LOCATED[peak.label])
            yield f"| {peak.label}, Wang et al. 2017 (full data) | | {wang} |"
    yield ""
    if recipe.loss.attention_label is None:
        yield (
            "No box was shown in training, so the boxes of all splits are counted; the films of "
            "`train` themselves were learned from."
        )
        yield ""


def _masks(evaluation: Evaluation) -> Iterator[str]:
    yield from _people(evaluation)
    yield "| figure | of | value (95 % interval) |"
    yield "|---|---|---|"
    for metric in evaluation.metrics:
        if not metric.name.startswith(("int8", "fp16")):
            name = metric.name.replace("_", " ")
            yield f"| {name} | {metric.label} | {_plain(metric.interval)} |"
    yield ""
    yield "![Dice of each film](dice.png)"
    yield ""


def _precisions(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    kind = "1 - Dice to the fp32 masks" if recipe.task == "segmentation" else "mean AUC"
    for precision, name in (("fp16", "Stored in 16 bits"), ("int8", "In eight bits")):
        for metric in evaluation.figures(f"{precision}_probability_difference_p99"):
            figure = evaluation.figure(f"{precision}_figure_difference").interval.value
            yield (
                f"{name}, against fp32 on the test split: probabilities differ by "
                f"{metric.interval.value:.4f} at the 99th percentile, {kind} by {figure:.4f}."
            )
            yield ""


def _making(recipe: Recipe, evaluation: Evaluation) -> Iterator[str]:
    how, network, loss = recipe.optimisation, recipe.network, recipe.loss
    phases = ", then ".join(
        f"{phase.epochs} epochs at {phase.side} px"
        + (f" with the first {phase.frozen_blocks} blocks fixed" if phase.frozen_blocks else "")
        for phase in how.phases
    )
    width = f", width {network.width}" if network.architecture == "mobilenetv2" else ""
    yield f"- Network: {network.architecture}{width}"
    if network.weights is not None:
        start = network.weights.removeprefix("run:")
        known = "a backbone trained on ImageNet" if start == network.weights else f"`{start}`"
        yield f"- Started from: {known}"
    if network.lungs_from is not None:
        yield f"- Sees the lungs only: the masks of `{network.lungs_from}` are inside its graph"
    yield f"- Data: {recipe.words.data}"
    yield f"- People: {recipe.words.population}"
    films = f", {how.films_per_epoch} films an epoch" if how.films_per_epoch else ""
    steps = f"learning rate {how.learning_rate}, batch {how.batch}"
    yield f"- Training: AdamW, {steps}, {phases}{films}"
    yield f"- Loss: {_loss(recipe)}"
    if loss.distillation is not None:
        also = ", ".join(loss.distillation.unlabelled)
        yield (
            f"- Distilled from {', '.join(f'`{name}`' for name in loss.distillation.teachers)} "
            f"(weight {loss.distillation.weight}, temperature {loss.distillation.temperature}"
            + (f"; the teacher alone read the films of {also})" if also else ")")
        )
    if recipe.words.age_bands:
        yield f"- Age bands it is meant for (years): {', '.join(recipe.words.age_bands)}"
    yield f"- Licence: {recipe.words.licence}"
    yield f"- Seed {recipe.seed}; recipe sha256 `{evaluation.recipe_sha256}`"
    if evaluation.data_manifest_sha256 is not None:
        yield f"- Data manifest sha256 `{evaluation.data_manifest_sha256}`"


def _loss(recipe: Recipe) -> str:
    loss = recipe.loss
    if recipe.task == "segmentation":
        return "binary cross-entropy + 1 - soft Dice"
    kind = "softmax cross-entropy" if recipe.task == "multi-class" else "binary cross-entropy"
    parts = [f"{kind}, label smoothing {loss.label_smoothing}"]
    if recipe.task == "multi-class":
        drawn = recipe.optimisation.films_per_epoch is not None
        parts.append(
            "classes and sources drawn equally often"
            if drawn
            else "classes weighted by N / (K · N_c)"
        )
    else:
        parts.append(
            "findings weighted as in CheXNet: w₊ = 2|N| / (|P|+|N|), w₋ = 2|P| / (|P|+|N|)"
        )
    if loss.kind == "focal":
        parts.append(f"focal, γ = {loss.focal_gamma}")
    if loss.attention:
        parts.append(f"the map of {loss.attention_label} drawn into the boxes ({loss.attention})")
    if loss.erased:
        parts.append(f"{loss.erased:.0%} of films shown with lesions painted over, as negatives")
    return "; ".join(parts)


def _plain(figure: Interval) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f}–{figure.high:.4f})"


def _percent(figure: Interval) -> str:
    return f"{figure.value:.1%} ({figure.low:.1%}–{figure.high:.1%})"
