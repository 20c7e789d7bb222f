"""Which models answer a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrserve.errors import LabelNotFound, ModelNotFound
from cxrserve.findings.interpret import choose_operating_point
from cxrserve.findings.lungs import LEFT_LUNG, RIGHT_LUNG
from cxrserve.models.repository import LoadedModel, ModelRepository


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, and the operating point it is asked at."""

    model: LoadedModel
    operating_point: str | None


def asked_models(
    repository: ModelRepository, names: Sequence[str], operating_point: str | None, key: bytes
) -> tuple[Asked, ...]:
    """The models of these names, each once.

    Args:
        key: of what is asked about; it says whether a canary answers.

    Raises:
        ModelNotFound: one is not loaded, or no name is given.
        UnknownOption: one has no such operating point.
    """
    if not names:
        raise ModelNotFound("no model is asked by default here", advice="name one with model=NAME")
    models = [repository.chosen(name, key) for name in dict.fromkeys(names)]
    once = {model.full_name: model for model in models}
    return tuple(
        Asked(
            model,
            None if model.segments else choose_operating_point(model.manifest, operating_point),
        )
        for model in once.values()
    )


def asked_as_well(
    repository: ModelRepository, asked: Sequence[Asked], key: bytes
) -> tuple[tuple[Asked, Asked], ...]:
    """Of models with a shadow for this key: the model, and the shadow as it is to be asked."""
    pairs = []
    for one in asked:
        shadow = None if one.model.segments else repository.shadow_of(one.model, key)
        if shadow is not None:
            points = shadow.manifest.operating_points
            same = one.operating_point in points
            point = one.operating_point if same else shadow.manifest.default_operating_point
            pairs.append((one, Asked(shadow, point)))
    return tuple(pairs)


def lung_outliner(repository: ModelRepository, asked: tuple[Asked, ...]) -> Asked | None:
    """The model whose lung masks boxes keep to; None if none is loaded, or only masks are asked."""
    if all(one.model.segments for one in asked):
        return None
    for model in repository:
        names = {label.name for label in model.manifest.labels}
        if model.segments and {RIGHT_LUNG, LEFT_LUNG} <= names:
            return next((one for one in asked if one.model is model), Asked(model, None))
    return None


def model_that_explains(
    repository: ModelRepository, names: Sequence[str], label: str, key: bytes
) -> str:
    """The first of `names` whose model gives a class map of this label: its `name@version`.

    Raises:
        ModelNotFound: one is not loaded.
        LabelNotFound: none does.
    """
    known: list[str] = []
    for name in names:
        model = repository.chosen(name, key)
        labels = [one.name for one in model.manifest.labels if one.trained and not model.segments]
        if label in labels:
            return model.full_name
        known += labels
    known = list(dict.fromkeys(known))
    raise LabelNotFound(
        f"{', '.join(names) or 'no default model'} gives no class map of {label[:64]!r}",
        advice=f"choose one of: {', '.join(known) or 'none'}",
        labels=known,
    )
