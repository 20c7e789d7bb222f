"""After all that: the server still serves."""

from __future__ import annotations

from cxrserve.conformance.http_inference import infer, outputs_of, request_of
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Section, rest


@HTTP(Section.AFTERWARDS, rest("Server Live"))
def the_server_still_lives(server: HttpServer) -> None:
    server.get("v2/health/live").ok()
    server.get("v2/health/ready").ok()


@HTTP(Section.AFTERWARDS, rest("Inference"))
def the_model_still_answers(server: HttpServer) -> None:
    outputs_of(infer(server, request_of(server.sample)))
