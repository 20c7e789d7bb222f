"""Settings of tracing and logging. They are written only with --control, and only as they were."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotApplicable, NotOffered

_trace = HTTP(Section.TRACE, triton("extension_trace"), extension=Extension.TRACE)
_logging = HTTP(Section.LOGGING, triton("extension_logging"), extension=Extension.LOGGING)
_TRACE, _LOGGING = "v2/trace/setting", "v2/logging"


@_trace
def trace_settings_can_be_read(server: HttpServer) -> None:
    answer = server.get(_TRACE)
    settings = _settings(answer)
    if not isinstance(settings.get("trace_level"), list):
        raise answer.failure("'trace_level': an array of texts")


@_trace
def the_models_trace_settings_can_be_read(server: HttpServer) -> None:
    _settings(server.get(server.model_path("/trace/setting")))


@_trace
def trace_settings_can_be_written(server: HttpServer) -> None:
    _written_as_it_was(server, _TRACE, "trace_level")


@_logging
def log_settings_can_be_read(server: HttpServer) -> None:
    answer = server.get(_LOGGING)
    level = _settings(answer).get("log_verbose_level")
    if not isinstance(level, int):
        raise answer.failure("'log_verbose_level': a number")


@_logging
def log_settings_are_named_as_documented(server: HttpServer) -> None:
    answer = server.get(_LOGGING)
    missing = {"log_info", "log_warnings", "log_errors"} - set(_settings(answer))
    if missing:
        raise answer.difference(f"{sorted(missing)}; Triton says log_warning and log_error")


@_logging
def log_settings_can_be_written(server: HttpServer) -> None:
    _written_as_it_was(server, _LOGGING, "log_verbose_level")


@_logging
def a_log_level_that_is_no_number_is_refused(server: HttpServer) -> None:
    _needs_control(server)
    server.post_json(_LOGGING, {"log_verbose_level": "loud"}).refused()


def _settings(answer: Answer) -> dict[str, Any]:
    if answer.status >= 400:
        answer.refused()
        raise NotOffered("listed, yet refused", sent=answer.sent, came=answer.came)
    settings = answer.ok().json()
    if not isinstance(settings, dict):
        raise answer.failure("a JSON object of settings")
    return settings


def _written_as_it_was(server: HttpServer, path: str, name: str) -> None:
    _needs_control(server)
    value = _settings(server.get(path)).get(name)
    answer = server.post_json(path, {name: value})
    if _settings(answer).get(name) != value:
        raise answer.failure(f"the settings after the change, with {name!r}: {value!r}")


def _needs_control(server: HttpServer) -> None:
    if not server.options.control:
        raise NotApplicable("writes settings: allow it with --control")
