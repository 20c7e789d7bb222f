"""The suite over HTTP, on a server that is right, and on servers with one fault each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cxrserve.conformance.command import ask_http
from cxrserve.conformance.model import Options
from cxrserve.conformance.suite import Outcome
from cxrserve.conformance.verdicts import Verdict

# What the server does wrong, and a check that must find it.
FOUND_BY = {
    "one sum is off": "sums and differences are right",
    "rows change places": "rows of a batch stay apart",
    "the id is lost": "the id comes back",
    "the tail by name": "the tail is in the order of the inputs",
    "what is left of the tail is dropped": "a tail too long is refused",
    "never binary": "binary data output makes every output binary",
    "the header is one off": "binary data output makes every output binary",
    "believes the header": "a negative header length is refused",
    "all outputs always": "only the output asked for comes",
    "the lowest class first": "the highest class comes first",
    "gzip for everyone": "an answer is plain unless asked",
    "crashes on broken JSON": "JSON that breaks off is refused",
    "crashes on unknown models": "inference by an unknown model is 404",
    "any version": "an unknown version does not infer",
    "datatypes in small letters": "the model names its tensors",
    "configured another size": "the configuration agrees with the metadata",
    "statistics stand still": "counts rise by what was sent",
    "requests for rows": "each row of a batch counts",
    "the index forgets": "the index names the model as ready",
    "unloading does nothing": "an unloaded model is gone until it is loaded",
    "sick": "live says so in JSON",
}


def _asked(url: str, model: str = "simple") -> list[Outcome]:
    return list(ask_http(url, Options(model=model, control=True)))


def _named(outcomes: list[Outcome], verdict: Verdict) -> list[str]:
    return [outcome.check for outcome in outcomes if outcome.verdict is verdict]


@pytest.mark.parametrize("model", ["simple", "simple_identity"])
def test_a_server_that_is_right_fails_nothing(
    little_server: Callable[[str], str], model: str
) -> None:
    outcomes = _asked(little_server(""), model)
    bad = [o for o in outcomes if o.verdict in (Verdict.FAILED, Verdict.DIFFERS)]
    assert not bad, bad
    assert len(_named(outcomes, Verdict.PASSED)) > 90


@pytest.mark.parametrize("fault", FOUND_BY)
def test_a_fault_is_found_by_the_right_check(
    little_server: Callable[[str], str], fault: str
) -> None:
    outcomes = _asked(little_server(fault))
    assert FOUND_BY[fault] in _named(outcomes, Verdict.FAILED)


def test_bytes_that_do_not_come_back_are_found(little_server: Callable[[str], str]) -> None:
    outcomes = _asked(little_server("bytes lose their end"), "simple_identity")
    assert "any bytes survive the way there and back" in _named(outcomes, Verdict.FAILED)


def test_a_soft_deviation_differs_and_does_not_fail(little_server: Callable[[str], str]) -> None:
    outcomes = _asked(little_server("never 404"))
    assert "inference by an unknown model is 404" in _named(outcomes, Verdict.DIFFERS)
    assert not _named(outcomes, Verdict.FAILED)


def test_what_is_not_listed_is_not_offered(little_server: Callable[[str], str]) -> None:
    outcomes = _asked(little_server(""))
    assert "trace settings can be read" in _named(outcomes, Verdict.NOT_OFFERED)
    assert "system regions are listed or refused" in _named(outcomes, Verdict.NOT_OFFERED)


def test_a_model_without_versions_is_not_asked_for_one(
    little_server: Callable[[str], str],
) -> None:
    outcomes = _asked(little_server("no versions"))
    assert "a version infers and names itself" in _named(outcomes, Verdict.NOT_OFFERED)
    assert not _named(outcomes, Verdict.FAILED)


def test_a_failure_says_what_was_sent_what_came_and_what_was_expected(
    little_server: Callable[[str], str],
) -> None:
    outcomes = _asked(little_server("one sum is off"))
    outcome = next(o for o in outcomes if o.check == "sums and differences are right")
    assert "POST /v2/models/simple/infer" in outcome.sent
    assert outcome.came.startswith("200")
    assert "OUTPUT0" in outcome.expected


def test_an_unknown_model_leaves_most_checks_unasked(little_server: Callable[[str], str]) -> None:
    outcomes = _asked(little_server(""), "no-such-thing")
    assert "the model names its tensors" in _named(outcomes, Verdict.FAILED)
    assert "sums and differences are right" in _named(outcomes, Verdict.NOT_APPLICABLE)


def test_the_control_of_models_is_left_alone_unless_allowed(
    little_server: Callable[[str], str],
) -> None:
    outcomes = list(ask_http(little_server(""), Options()))
    name = "an unloaded model is gone until it is loaded"
    assert name in _named(outcomes, Verdict.NOT_APPLICABLE)
