"""Requests that are wrong: each is refused, with a reason, and none brings the server down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cxrserve.conformance.checks import Check
from cxrserve.conformance.http_inference import infer, request_of
from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.model import Model
from cxrserve.conformance.specification import Section, rest
from cxrserve.conformance.verdicts import NotApplicable

_SOURCE = rest("Inference Response JSON Error Object")
_errors = HTTP(Section.ERRORS, _SOURCE)

Spoil = Callable[[dict[str, Any]], object]


def _first(document: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = document["inputs"][0]
    return one


def _changed(**members: Any) -> Spoil:
    return lambda document: _first(document).update(members)


def _without(member: str) -> Spoil:
    return lambda document: _first(document).pop(member)


# What is wrong, and what makes it so.
_SPOILT: dict[str, Spoil] = {
    "a shape that the data do not fill is refused": lambda d: _first(d)["shape"].append(2),
    "a shape that the model does not take is refused": lambda d: _first(d).update(
        shape=[1, *_first(d)["shape"], 1]
    ),
    "a negative size is refused": lambda d: _first(d)["shape"].__setitem__(0, -1),
    "a size beyond all memory is refused": lambda d: _first(d).update(shape=[2**40, 2**40]),
    "a size that is no number is refused": _changed(shape=["one", 16]),
    "too little data is refused": lambda d: _first(d)["data"].pop(),
    "too much data is refused": lambda d: _first(d)["data"].append(_first(d)["data"][0]),
    "an unknown datatype is refused": _changed(datatype="INT33"),
    "data that are no array are refused": _changed(data="all of them"),
    "an input without a name is refused": _without("name"),
    "an input without a shape is refused": _without("shape"),
    "an input without a datatype is refused": _without("datatype"),
    "an input without data is refused": _without("data"),
    "an input of another name is refused": _changed(name="no-such-input"),
    "a request without inputs is refused": lambda d: d.pop("inputs"),
    "inputs that are no array are refused": lambda d: d.update(inputs=5),
    "no inputs at all are refused": lambda d: d.update(inputs=[]),
}

_BODIES = {
    "an empty body is refused": b"",
    "JSON that breaks off is refused": b'{"inputs": [{"name": "INPUT0"',
    "JSON that is no object is refused": b"[]",
    "null is refused": b"null",
    "bytes that are no text are refused": b"\xff\xfe\x00\x01",
    "a hundred thousand brackets are refused": b"[" * 100_000,
}


def _refuses(spoil: Spoil, server: HttpServer) -> None:
    document = request_of(server.sample)
    spoil(document)
    infer(server, document).refused()


def _refuses_body(body: bytes, server: HttpServer) -> None:
    infer(server, body).refused()


for _name, _spoil in _SPOILT.items():
    HTTP.add(Check(_name, Section.ERRORS, _SOURCE, None, partial(_refuses, _spoil)))
for _name, _body in _BODIES.items():
    HTTP.add(Check(_name, Section.ERRORS, _SOURCE, None, partial(_refuses_body, _body)))


@_errors
def inference_by_an_unknown_model_is_404(server: HttpServer) -> None:
    infer(server, request_of(server.sample), model="no-such-model").refused(status=404)


@_errors
def an_unknown_path_is_404(server: HttpServer) -> None:
    answer = server.get("v2/no-such-path")
    if answer.status != 404:
        answer.refused(status=404)
    if not isinstance(_object(answer).get("error"), str):
        raise answer.difference("'error': a text, as for what the specification names")


@_errors
def a_wrong_method_is_refused(server: HttpServer) -> None:
    answer = server.get(server.model_path("/infer"))
    if not answer.is_not_there:
        answer.refused(status=405)


@_errors
def another_datatype_than_the_models_is_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    one = _first(document)
    one["datatype"] = "FP64" if one["datatype"] != "FP64" else "INT64"
    answer = infer(server, document)
    if answer.status == 200:
        raise answer.difference("a refusal; a server may cast, but the client does not know")
    answer.refused()


@_errors
def an_input_too_many_is_refused(server: HttpServer) -> None:
    _refuses_one_more(server, name="no-such-input")


@_errors
def an_input_that_comes_twice_is_refused(server: HttpServer) -> None:
    _refuses_one_more(server)


@_errors
def text_for_numbers_is_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    one = _first(document)
    one["data"] = [7 if one["datatype"] == "BYTES" else "seven"] * len(one["data"])
    infer(server, document).refused()


@_errors
def numbers_beyond_their_datatype_are_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    one = _first(document)
    _needs_integers(server.model, one["name"])
    one["data"] = [2**40] * len(one["data"])
    answer = infer(server, document)
    if answer.status == 200:
        raise answer.difference("a refusal: the numbers were silently cut to fit")
    answer.refused()


@_errors
def fractions_for_integers_are_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    one = _first(document)
    _needs_integers(server.model, one["name"])
    one["data"] = [0.5] * len(one["data"])
    answer = infer(server, document)
    if answer.status == 200:
        raise answer.difference(f"a refusal: 0.5 is no {one['datatype']}")
    answer.refused()


@_errors
def a_missing_input_is_refused(server: HttpServer) -> None:
    server.model.needs_simple()
    infer(server, request_of(server.sample[:1])).refused()


@_errors
def batches_of_unequal_length_are_refused(server: HttpServer) -> None:
    server.model.needs_simple()
    first, second = server.model.simple_inputs(tuple(range(32)), tuple(range(16)))
    infer(server, request_of([first, second])).refused()


@_errors
def errors_are_called_JSON(server: HttpServer) -> None:  # noqa: N802 - the report's name
    for answer in (
        infer(server, b"{"),
        infer(server, request_of(server.sample), model="no-such-model"),
    ):
        kind = answer.headers.get("content-type", "")
        if kind.partition(";")[0].strip() != "application/json":
            raise answer.difference(f"Content-Type: application/json, not {kind!r}")


def _refuses_one_more(server: HttpServer, **members: Any) -> None:
    document = request_of(server.sample)
    document["inputs"].append(_first(document) | members)
    answer = infer(server, document)
    if answer.status == 200:
        raise answer.difference("a refusal: one of the inputs was passed over")
    answer.refused()


def _object(answer: Answer) -> dict[str, Any]:
    document = answer.json()
    return document if isinstance(document, dict) else {}


def _needs_integers(model: Model, name: str) -> None:
    spec = next(one for one in model.inputs if one.name == name)
    if spec.datatype not in ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"):
        raise NotApplicable(f"{name!r} is {spec.datatype}")
