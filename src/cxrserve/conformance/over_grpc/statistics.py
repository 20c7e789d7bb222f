"""Statistics: they count what was sent."""

from __future__ import annotations

import time

from cxrserve.conformance.arithmetic import Counts, expect_risen
from cxrserve.conformance.grpc_inference import infer, outputs_of, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer, Reply
from cxrserve.conformance.messages import service_pb2
from cxrserve.conformance.model import batch_of_two
from cxrserve.conformance.over_grpc.health import version_of
from cxrserve.conformance.specification import Extension, Section, triton

_statistics = GRPC(
    Section.STATISTICS, triton("extension_statistics"), extension=Extension.STATISTICS
)


@_statistics
def every_model_has_statistics(server: GrpcServer) -> None:
    reply = server.call("ModelStatistics", service_pb2.ModelStatisticsRequest())
    if not any(one.name == server.options.model for one in reply.ok().model_stats):
        raise reply.failure(f"{server.options.model!r} among model_stats")


@_statistics
def a_version_has_statistics(server: GrpcServer) -> None:
    version = version_of(server)
    reply = _asked(server, version=version)
    if [one.version for one in reply.ok().model_stats] != [version]:
        raise reply.failure(f"the statistics of version {version}, and no other")


@_statistics
def counts_rise_by_what_was_sent(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    before = _counts(server)
    for _ in range(3):
        outputs_of(infer(server, request))
    expect_risen(lambda: _counts(server), before, requests=3, rows=3, wait=time.sleep)


@_statistics
def each_row_of_a_batch_counts(server: GrpcServer) -> None:
    request = request_of(server, batch_of_two(server.model))
    before = _counts(server)
    outputs_of(infer(server, request))
    expect_risen(lambda: _counts(server), before, requests=1, rows=2, wait=time.sleep)


@_statistics
def statistics_of_an_unknown_model_are_refused(server: GrpcServer) -> None:
    reply = _asked(server, model="no-such-model")
    # NOT_FOUND says it better; Triton says INVALID_ARGUMENT.
    if reply.code != "NOT_FOUND":
        reply.refused()


def _asked(server: GrpcServer, model: str = "", version: str = "") -> Reply:
    request = server.named("ModelStatisticsRequest", model, version)
    return server.call("ModelStatistics", request)


def _counts(server: GrpcServer) -> Counts:
    stats = _asked(server).ok().model_stats
    return Counts(
        sum(int(one.inference_stats.success.count) for one in stats),
        sum(int(one.inference_count) for one in stats),
    )
