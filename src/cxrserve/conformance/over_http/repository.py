"""What the server could serve, and whether it loads and unloads on request."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.http_inference import infer, outputs_of, request_of
from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_SOURCE = triton("extension_model_repository")
_index = HTTP(Section.REPOSITORY, _SOURCE, extension=Extension.REPOSITORY)
_control = HTTP(Section.CONTROL, _SOURCE, extension=Extension.REPOSITORY)
_PATH = "v2/repository/index"


@_index
def the_index_names_the_model_as_ready(server: HttpServer) -> None:
    answer = server.post_json(_PATH, {})
    if _state(server, answer) != "READY":
        raise answer.failure(f"{server.options.model!r} with the state 'READY'")


@_index
def the_index_may_be_asked_with_an_empty_body(server: HttpServer) -> None:
    _entries(server.post(_PATH))


@_index
def only_ready_models_come_when_asked_for(server: HttpServer) -> None:
    answer = server.post_json(_PATH, {"ready": True})
    if any(one.get("state") != "READY" for one in _entries(answer)):
        raise answer.failure("no model that is not 'READY'")
    if _state(server, answer) != "READY":
        raise answer.failure(f"{server.options.model!r} among them")


@_index
def every_entry_has_a_reason(server: HttpServer) -> None:
    answer = server.post_json(_PATH, {})
    if any("reason" not in one for one in _entries(answer)):
        raise answer.difference("'reason' in each entry: it is not marked #optional")


@_index
def an_index_request_that_is_no_JSON_is_refused(server: HttpServer) -> None:  # noqa: N802
    server.post(_PATH, b"{").refused()


@_control
def an_unknown_model_cannot_be_loaded(server: HttpServer) -> None:
    _needs_control(server)
    server.post(_control_path("no-such-model", "load")).refused()


@_control
def a_loaded_model_is_loaded_again(server: HttpServer) -> None:
    _needs_control(server)
    _allowed(server.post(_control_path(server.options.model, "load")))
    outputs_of(infer(server, request_of(server.sample)))


@_control
def an_unloaded_model_is_gone_until_it_is_loaded(server: HttpServer) -> None:
    _needs_control(server)
    request = request_of(server.sample)
    name = server.options.model
    _allowed(server.post(_control_path(name, "unload")))
    try:
        server.get(server.model_path("/ready")).refused()
        answer = infer(server, request)
        if answer.status < 400:
            raise answer.failure("a refusal: the model is unloaded")
        answer.member("error", str)
        index = server.post_json(_PATH, {})
        if _state(server, index) == "READY":
            raise index.failure("another state than 'READY'")
    finally:
        _allowed(server.post(_control_path(name, "load")))
    outputs_of(infer(server, request))


def _entries(answer: Answer) -> list[dict[str, Any]]:
    entries = answer.ok().json()
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise answer.failure("an array of objects")
    if not all(isinstance(one.get("name"), str) for one in entries):
        raise answer.failure("'name' in each entry")
    return entries


def _state(server: HttpServer, answer: Answer) -> str:
    states = {one["name"]: str(one.get("state")) for one in _entries(answer)}
    return states.get(server.options.model, "")


def _control_path(model: str, verb: str) -> str:
    return f"v2/repository/models/{model}/{verb}"


def _needs_control(server: HttpServer) -> None:
    if not server.options.control:
        raise NotApplicable("may unload the model: allow it with --control")


def _allowed(answer: Answer) -> None:
    if answer.status in (400, 403, 405, 501, 503):
        answer.member("error", str)
        raise NotOffered("control is switched off", sent=answer.sent, came=answer.came)
    answer.ok()
