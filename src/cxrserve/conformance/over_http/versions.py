"""Versions in the path."""

from __future__ import annotations

from cxrserve.conformance.http_inference import head_of, infer, request_of
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Section, rest
from cxrserve.conformance.verdicts import NotOffered

_PATHS = rest("path contents in []")


@HTTP(Section.VERSIONS, _PATHS)
def a_version_has_metadata(server: HttpServer) -> None:
    answer = server.get(server.model_path(version=_version(server))).ok()
    if answer.member("name", str) != server.options.model:
        raise answer.failure(f"the name {server.options.model!r}")


@HTTP(Section.VERSIONS, _PATHS)
def a_version_is_ready(server: HttpServer) -> None:
    server.get(server.model_path("/ready", version=_version(server))).ok()


@HTTP(Section.VERSIONS, _PATHS)
def a_version_infers_and_names_itself(server: HttpServer) -> None:
    version = _version(server)
    answer = infer(server, request_of(server.sample), version=version)
    if head_of(answer).get("model_version") != version:
        raise answer.failure(f"'model_version': {version!r}")


@HTTP(Section.VERSIONS, _PATHS)
def metadata_of_an_unknown_version_are_404(server: HttpServer) -> None:
    server.get(server.model_path(version=_unknown(server))).refused(status=404)


@HTTP(Section.VERSIONS, _PATHS)
def an_unknown_version_is_not_ready(server: HttpServer) -> None:
    server.get(server.model_path("/ready", version=_unknown(server))).refused()


@HTTP(Section.VERSIONS, _PATHS)
def an_unknown_version_does_not_infer(server: HttpServer) -> None:
    infer(server, request_of(server.sample), version=_unknown(server)).refused(status=404)


@HTTP(Section.VERSIONS, _PATHS)
def a_version_that_is_no_number_is_refused(server: HttpServer) -> None:
    _version(server)
    server.get(server.model_path(version="no-such-version")).refused()


def _version(server: HttpServer) -> str:
    if not server.model.versions:
        raise NotOffered("the model's metadata name no versions")
    return server.model.versions[-1]


def _unknown(server: HttpServer) -> str:
    _version(server)
    return "987654"
