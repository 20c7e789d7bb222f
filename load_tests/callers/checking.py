"""Is this the answer to that question? Pure, and the same for all protocols."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from load_tests.callers.films import Expected, Probabilities

TOLERANCE = 1e-4
"""Of a probability: what a network's answer may differ by when it ran in another batch."""

_TIMINGS = ("decode", "queue", "inference", "total")


class NoAnswer(ValueError):
    """What came with a success is no answer; the message says what it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an answer says, whatever protocol brought it.

    Attributes:
        request: the id that came back.
        sha256, width, height, digests, warnings: None where the protocol does not tell (oip).
    """

    request: str
    probabilities: Probabilities
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    digests: Mapping[str, str] | None = None
    warnings: tuple[str, ...] | None = None


def fault_of(seen: Seen, *, request: str, expected: Expected) -> str:
    """What shows that an answer is not the one of this question; empty if it is.

    Args:
        request: the id that was sent.
        expected: what the image that was sent is answered.
    """
    if seen.request != request:
        return "the id of another request"
    facts = (
        ("sha256", seen.sha256, expected.sha256),
        ("width", seen.width, expected.width),
        ("height", seen.height, expected.height),
        ("digest", seen.digests, _of_those_asked(seen, expected)),
        ("warnings", seen.warnings, expected.warnings),
    )
    for name, told, right in facts:
        if told is not None and told != right:
            return f"another {name}"
    if seen.sha256 is not None and seen.probabilities.keys() != expected.probabilities.keys():
        return "other models"
    difference = largest_difference(seen.probabilities, expected.probabilities)
    if difference > TOLERANCE:
        return f"a probability differs by {difference:.6f}"
    return ""


def _of_those_asked(seen: Seen, expected: Expected) -> dict[str, str]:
    """A protocol that asks one model tells of that model alone."""
    return {
        model: digest for model, digest in expected.digests.items() if model in seen.probabilities
    }


def largest_difference(one: Probabilities, other: Probabilities) -> float:
    """Of two answers' probabilities; infinite where models or labels are not the same.

    A protocol that asks one model is held against that model alone.
    """
    if not one or not one.keys() <= other.keys():
        return math.inf
    largest = 0.0
    for model, labels in one.items():
        if labels.keys() != other[model].keys():
            return math.inf
        for label, value in labels.items():
            right = other[model][label]
            if (value is None) != (right is None):
                return math.inf
            if value is not None and right is not None:
                largest = max(largest, abs(value - right))
    return largest


def seen_in_json(answer: Any) -> Seen:
    """An answer of `/v1/predict`, or of a line of `/v1/predict/batch`.

    Raises:
        NoAnswer: something of the public contract is missing or of another kind.
    """
    try:
        image, results, timings = answer["image"], answer["results"], answer["timings_ms"]
        _require(all(float(timings[name]) >= 0 for name in _TIMINGS), "timings_ms")
        _require(isinstance(answer["notice"], str) and answer["notice"] != "", "notice")
        _require(bool(image["format"]), "image.format")
        _require(isinstance(results, list) and len(results) > 0, "results")
        for result in results:
            model = result["model"]
            _require(all(model[name] for name in ("version", "engine", "preprocessing")), "model")
        return Seen(
            request=str(answer["id"]),
            sha256=str(image["sha256"]),
            width=int(image["width"]),
            height=int(image["height"]),
            warnings=tuple(str(remark["code"]) for remark in image["warnings"]),
            digests={str(one["model"]["name"]): str(one["model"]["digest"]) for one in results},
            probabilities={
                str(one["model"]["name"]): _probabilities(
                    (finding["label"], finding["probability"]) for finding in one["findings"]
                )
                for one in results
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NoAnswer(f"no answer as of /v1/predict: {type(error).__name__} {error}") from None


def _probabilities(findings: Iterable[tuple[Any, Any]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for label, probability in findings:
        value = None if probability is None else float(probability)
        _require(value is None or 0 <= value <= 1, "probability")
        found[str(label)] = value
    _require(bool(found), "findings")
    return found


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise NoAnswer(name)
