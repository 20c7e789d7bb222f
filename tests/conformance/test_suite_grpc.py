"""The suite over gRPC, on a server that is right, and on servers with one fault each."""

from __future__ import annotations

import pytest

from cxrserve.conformance.command import ask_grpc
from cxrserve.conformance.model import Options
from cxrserve.conformance.suite import Outcome
from cxrserve.conformance.verdicts import Verdict
from tests.conformance.little_grpc import running_little_grpc

# What the server does wrong, and a check that must find it.
FOUND_BY = {
    "never ready": "the server is ready",
    "all is ready": "an unknown model is not ready",
    "the id is lost": "the id comes back",
    "raw contents by name": "raw contents are in the order of the inputs",
    "typed contents are zeros": "typed contents are the same as raw",
    "takes both contents": "raw and typed contents together are refused",
    "crashes on unknown models": "inference by an unknown model is not found",
    "an error ends the stream": "a wrong request does not end the stream",
}


def _asked(fault: str) -> list[Outcome]:
    with running_little_grpc(fault) as address:
        return list(ask_grpc(address, Options()))


def _named(outcomes: list[Outcome], verdict: Verdict) -> list[str]:
    return [outcome.check for outcome in outcomes if outcome.verdict is verdict]


def test_a_server_that_is_right_fails_nothing() -> None:
    outcomes = _asked("")
    bad = [o for o in outcomes if o.verdict in (Verdict.FAILED, Verdict.DIFFERS)]
    assert not bad, bad
    assert len(_named(outcomes, Verdict.PASSED)) > 45


@pytest.mark.parametrize("fault", FOUND_BY)
def test_a_fault_is_found_by_the_right_check(fault: str) -> None:
    assert FOUND_BY[fault] in _named(_asked(fault), Verdict.FAILED)


def test_a_server_without_extensions_offers_none() -> None:
    offered = _named(_asked(""), Verdict.NOT_OFFERED)
    assert "counts rise by what was sent" in offered
    assert "reflection names the inference service" in offered
    assert "system regions are listed or refused" in offered
