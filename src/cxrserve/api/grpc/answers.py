"""Our answers as messages of `cxrserve.v1`: the same fields, lists of rows laid flat."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict

from cxrserve import answer as answers
from cxrserve.api.grpc.statuses import code_of
from cxrserve.errors import CxrError, NotReadableAsChest, Overloaded, UnreadableImage
from cxrserve.v1 import radiology_pb2 as pb


def answer_message(answer: answers.Answer) -> pb.Answer:
    """An answer, to the last digit."""
    return ParseDict(_flattened(answer.model_dump(mode="json")), pb.Answer())


def explanation_message(explanation: answers.Explanation) -> pb.Explanation:
    """An explanation, to the last digit."""
    return ParseDict(_flattened(explanation.model_dump(mode="json")), pb.Explanation())


def problem_message(error: CxrError) -> pb.Problem:
    """What was wrong with one image of a stream."""
    problem = pb.Problem(
        grpc_code=code_of(error).value[0],
        code=error.code,
        detail=error.detail,
        advice=error.advice,
    )
    if isinstance(error, NotReadableAsChest):
        problem.reasons.extend(error.reasons)
    elif isinstance(error, UnreadableImage):
        problem.reasons.append(error.reason)
    elif isinstance(error, Overloaded):
        problem.retry_after_s = error.retry_after_s
    return problem


def _flattened(given: Any) -> Any:
    """JSON as protobuf can have it: no list of lists, none that may be absent but in a message."""
    if isinstance(given, list):
        return [_flattened(one) for one in given]
    if not isinstance(given, dict):
        return given
    laid = {name: _flattened(value) for name, value in given.items() if value is not None}
    if "grid" in laid:
        laid["grid"] = [value for row in laid["grid"] for value in row]
    if "boxes" in laid:
        laid["boxes"] = {"boxes": laid["boxes"]}
    return laid
