"""Deadlines: a call ends when its time is over, and the next one is not the worse for it."""

from __future__ import annotations

import time

from cxrserve.conformance.grpc_inference import expect_equal, infer, reference, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer
from cxrserve.conformance.specification import Section
from cxrserve.conformance.verdicts import Differs

_deadlines = GRPC(Section.DEADLINES, "gRPC deadlines (grpc.io/docs/guides/deadlines)")
# From far too short to just enough for a small model on this machine.
_TIMEOUTS_S = (0.0002, 0.001, 0.003, 0.01)
_AMPLE_S = 3600.0
_PROMPT_S = 2.0


@_deadlines
def a_call_ends_by_its_deadline_or_well(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    expected = reference(server)
    for timeout_s in _TIMEOUTS_S:
        reply = infer(server, request, timeout_s=timeout_s)
        if reply.code == "OK":
            expect_equal(reply, expected)
        elif reply.code != "DEADLINE_EXCEEDED":
            raise reply.failure(f"an answer, or DEADLINE_EXCEEDED, within {timeout_s * 1e3:g} ms")


@_deadlines
def calls_whose_time_is_over_do_not_delay_others(server: GrpcServer) -> None:
    request = request_of(server, server.sample)
    expected = reference(server)
    usual_s = _seconds_of(server, request)
    for _ in range(20):
        infer(server, request, timeout_s=0.001)
    begun = time.perf_counter()
    reply = infer(server, request)
    took_s = time.perf_counter() - begun
    expect_equal(reply, expected)
    if took_s > _PROMPT_S + 10 * usual_s:
        raise Differs(
            f"about {usual_s * 1e3:.0f} ms, as before",
            sent="20 calls with 1 ms to live, then one without haste",
            came=f"its answer after {took_s * 1e3:.0f} ms",
        )


@_deadlines
def a_distant_deadline_is_accepted(server: GrpcServer) -> None:
    reply = infer(server, request_of(server, server.sample), timeout_s=_AMPLE_S)
    expect_equal(reply, reference(server))


def _seconds_of(server: GrpcServer, request: object) -> float:
    begun = time.perf_counter()
    infer(server, request).ok()
    return time.perf_counter() - begun
