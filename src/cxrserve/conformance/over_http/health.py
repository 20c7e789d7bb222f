"""Health of the server, and of the model."""

from __future__ import annotations

from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.specification import Section, rest

_LIVE, _READY = rest("Server Live"), rest("Server Ready")
_MODEL = rest("Model Ready")


@HTTP(Section.HEALTH, _LIVE)
def live_answers_200(server: HttpServer) -> None:
    server.get("v2/health/live").ok()


@HTTP(Section.HEALTH, _READY)
def ready_answers_200(server: HttpServer) -> None:
    server.get("v2/health/ready").ok()


@HTTP(Section.HEALTH, _LIVE)
def live_says_so_in_JSON(server: HttpServer) -> None:  # noqa: N802 - the name is the report's
    _says(server.get("v2/health/live"), "live")


@HTTP(Section.HEALTH, _READY)
def ready_says_so_in_JSON(server: HttpServer) -> None:  # noqa: N802
    # The document's own table calls this member `live`; its OpenAPI file `ready`.
    _says(server.get("v2/health/ready"), "ready", "live")


@HTTP(Section.MODEL_READY, _MODEL)
def a_ready_model_answers_200(server: HttpServer) -> None:
    server.get(server.model_path("/ready")).ok()


@HTTP(Section.MODEL_READY, _MODEL)
def a_ready_model_says_so_in_JSON(server: HttpServer) -> None:  # noqa: N802
    _says(server.get(server.model_path("/ready")), "ready")


@HTTP(Section.MODEL_READY, _MODEL)
def an_unknown_model_is_not_ready(server: HttpServer) -> None:
    server.get(server.model_path("/ready", model="no-such-model")).refused()


def _says(answer: Answer, *members: str) -> None:
    answer.ok()
    if not answer.body:
        raise answer.difference(f"a body with {members[0]!r}: true; Triton sends none")
    document = answer.json()
    if not isinstance(document, dict) or not any(document.get(one) is True for one in members):
        raise answer.failure(f"{members[0]!r}: true")
