"""What a request may say about itself: an id, a priority, a timeout, anything else."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.http_inference import (
    expect_equal,
    head_of,
    infer,
    reference,
    request_of,
)
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Extension, Section, rest, triton

_ID = rest("Inference Request JSON Object, id")
_schedule = HTTP(
    Section.PARAMETERS, triton("extension_schedule_policy"), extension=Extension.SCHEDULE
)


@HTTP(Section.ID, _ID)
def the_id_comes_back(server: HttpServer) -> None:
    _comes_back(server, "42")


@HTTP(Section.ID, _ID)
def an_id_of_any_text_comes_back(server: HttpServer) -> None:
    _comes_back(server, "Größe 2/3 \N{LUNGS}")


@HTTP(Section.ID, _ID)
def no_id_comes_back_as_none(server: HttpServer) -> None:
    answer = infer(server, request_of(server.sample))
    if head_of(answer).get("id"):
        raise answer.difference("no id, for none was sent")


@_schedule
def a_priority_is_accepted(server: HttpServer) -> None:
    _accepted(server, {"priority": 1})


@_schedule
def a_timeout_in_microseconds_is_accepted(server: HttpServer) -> None:
    _accepted(server, {"timeout": 60_000_000})


@_schedule
def a_priority_that_is_no_number_is_refused(server: HttpServer) -> None:
    infer(server, request_of(server.sample, parameters={"priority": "first"})).refused()


@_schedule
def a_timeout_that_is_no_number_is_refused(server: HttpServer) -> None:
    infer(server, request_of(server.sample, parameters={"timeout": "soon"})).refused()


@HTTP(Section.PARAMETERS, triton("extension_parameters"), extension=Extension.PARAMETERS)
def parameters_of_one_s_own_are_accepted(server: HttpServer) -> None:
    _accepted(server, {"my_custom_parameter": 42, "another": "text", "third": True})


def _comes_back(server: HttpServer, identity: str) -> None:
    answer = infer(server, request_of(server.sample, id=identity))
    if head_of(answer).get("id") != identity:
        raise answer.failure(f"'id': {identity!r}")


def _accepted(server: HttpServer, parameters: dict[str, Any]) -> None:
    answer = infer(server, request_of(server.sample, parameters=parameters))
    expect_equal(answer, reference(server))
