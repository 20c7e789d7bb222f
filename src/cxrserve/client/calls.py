"""What is sent, and how its reply is read. Pure."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from cxrserve.answer import Answer, Explanation
from cxrserve.client.replies import Reply, read_identified, read_picture, read_view
from cxrserve.errors import UnknownOption
from cxrserve.model_listing import ModelDetail, ModelList

Given = TypeVar("Given")

# What the service keeps of an id; for any other it would make one of its own.
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Options(TypedDict, total=False):
    """How an image is asked about; see `docs/api.md`.

    Attributes:
        priority: who goes first.
        deadline_ms: time for the answer, retries included.
        operating_point: set of thresholds.
        force: answer even what the quality gate refuses.
        augment: `mirror`: classifiers read the mirror image too.
    """

    priority: Literal["stat", "urgent", "routine"]
    deadline_ms: float | None
    operating_point: str | None
    force: bool
    augment: Literal["none", "mirror"]


class PredictOptions(Options, total=False):
    """Options of a prediction.

    Attributes:
        models: `name` or `name@version` of one or several; the service's default set without.
        explain: give heat maps, boxes of positive findings, masks.
    """

    models: str | Sequence[str]
    explain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Given]):
    """One request, which may be sent several times, always under one id.

    `read` takes the reply, and the id that the answer must carry (None: any).
    """

    method: str
    path: str
    read: Callable[[Reply, str | None], Given] = field(repr=False)
    request_id: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    deadline_ms: float | None = None


def predict_call(
    image: bytes, options: PredictOptions, *, request_id: str | None = None
) -> Call[Answer]:
    """Ask for the findings of one image.

    Raises:
        UnknownOption: of `deadline_ms` or `request_id`; the service judges the others.
    """
    params: dict[str, Any] = {"model": options.get("models"), **options}
    params.pop("models", None)
    return _about(image, "/v1/predict", params, request_id, partial(read_identified, Answer))


def explain_call(
    image: bytes,
    label: str,
    options: Options,
    *,
    model: str | None = None,
    request_id: str | None = None,
) -> Call[Explanation]:
    """Ask for the class map of one label in figures; raises as `predict_call` does."""
    params = {**options, "label": label, "model": model}
    return _about(image, "/v1/explain", params, request_id, partial(read_identified, Explanation))


def explain_picture_call(
    image: bytes,
    label: str,
    options: Options,
    *,
    model: str | None = None,
    request_id: str | None = None,
) -> Call[bytes]:
    """Ask for the class map of one label as a PNG; raises as `predict_call` does."""
    params = {**options, "label": label, "model": model}
    return _about(image, "/v1/explain", params, request_id, read_picture, accept="image/png")


def models_call() -> Call[ModelList]:
    """Ask what is loaded."""
    return Call(
        method="GET", path="/v1/models", read=partial(read_view, ModelList), request_id=_new_id()
    )


def model_call(name: str, version: str | None = None) -> Call[ModelDetail]:
    """Ask for all that is known about one model."""
    return Call(
        method="GET",
        path=f"/v1/models/{quote(name, safe='')}",
        params=_params({"version": version}),
        read=partial(read_view, ModelDetail),
        request_id=_new_id(),
    )


def _about(
    image: bytes,
    path: str,
    options: dict[str, Any],
    request_id: str | None,
    read: Callable[[Reply, str | None], Given],
    *,
    accept: str = "application/json",
) -> Call[Given]:
    deadline_ms = options.pop("deadline_ms", None)
    if deadline_ms is not None and not 0 < deadline_ms < math.inf:
        raise UnknownOption(
            f"deadline_ms is {deadline_ms}",
            advice="give the milliseconds that an answer may take",
            option="deadline_ms",
        )
    return Call(
        method="POST",
        path=path,
        params=_params(options),
        # What the bytes are is seen by the service; a name's ending would only be a guess.
        headers={"Content-Type": "application/octet-stream", "Accept": accept},
        body=image,
        deadline_ms=deadline_ms,
        read=read,
        request_id=_checked_id(request_id),
    )


def _params(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The query: None is left out, several values repeat their name."""
    return tuple(
        (name, str(one).lower() if isinstance(one, bool) else str(one))
        for name, value in options.items()
        if value is not None
        for one in ([value] if isinstance(value, str | bool) else value)
    )


def _checked_id(given: str | None) -> str:
    if given is None:
        return _new_id()
    if not _SAFE_ID.fullmatch(given):
        raise UnknownOption(
            "the request_id is not one that the service keeps",
            advice="use up to 64 of A-Z a-z 0-9 . _ : -, and nothing that names a patient",
            option="request_id",
        )
    return given


def _new_id() -> str:
    return str(uuid.uuid4())
