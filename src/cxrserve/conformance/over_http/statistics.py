"""Statistics: they count what was sent."""

from __future__ import annotations

import time
from typing import Any

from cxrserve.conformance.arithmetic import Counts, expect_risen
from cxrserve.conformance.http_inference import infer, outputs_of, request_of
from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.model import batch_of_two
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotOffered

_statistics = HTTP(
    Section.STATISTICS, triton("extension_statistics"), extension=Extension.STATISTICS
)
_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@_statistics
def every_model_has_statistics(server: HttpServer) -> None:
    answer = server.get("v2/models/stats")
    if not any(one.get("name") == server.options.model for one in _stats(answer)):
        raise answer.failure(f"{server.options.model!r} among 'model_stats'")


@_statistics
def the_model_has_all_durations(server: HttpServer) -> None:
    answer = server.get(server.model_path("/stats"))
    durations = _stats(answer)[0].get("inference_stats")
    for name in _DURATIONS:
        one = durations.get(name) if isinstance(durations, dict) else None
        if not isinstance(one, dict) or {"count", "ns"} - set(one):
            raise answer.failure(f"inference_stats.{name} with 'count' and 'ns'")


@_statistics
def a_version_has_statistics(server: HttpServer) -> None:
    if not server.model.versions:
        raise NotOffered("the model's metadata name no versions")
    version = server.model.versions[-1]
    answer = server.get(server.model_path("/stats", version=version))
    if [str(one.get("version")) for one in _stats(answer)] != [version]:
        raise answer.failure(f"the statistics of version {version}, and no other")


@_statistics
def counts_rise_by_what_was_sent(server: HttpServer) -> None:
    request = request_of(server.sample)
    before = _counts(server)
    for _ in range(3):
        outputs_of(infer(server, request))
    expect_risen(lambda: _counts(server), before, requests=3, rows=3, wait=time.sleep)


@_statistics
def each_row_of_a_batch_counts(server: HttpServer) -> None:
    request = request_of(batch_of_two(server.model))
    before = _counts(server)
    outputs_of(infer(server, request))
    expect_risen(lambda: _counts(server), before, requests=1, rows=2, wait=time.sleep)


@_statistics
def statistics_of_an_unknown_model_are_refused(server: HttpServer) -> None:
    server.get(server.model_path("/stats", model="no-such-model")).refused()


def _stats(answer: Answer) -> list[dict[str, Any]]:
    stats: list[dict[str, Any]] = answer.ok().member("model_stats", list)
    if not stats or not all(isinstance(one, dict) for one in stats):
        raise answer.failure("'model_stats' with an object for each model and version")
    return stats


def _counts(server: HttpServer) -> Counts:
    answer = server.get(server.model_path("/stats"))
    success = inferences = 0
    for one in _stats(answer):
        try:
            success += int(one["inference_stats"]["success"]["count"])
            inferences += int(one["inference_count"])
        except (KeyError, TypeError, ValueError):
            raise answer.failure("inference_stats.success.count and inference_count") from None
    return Counts(success, inferences)
