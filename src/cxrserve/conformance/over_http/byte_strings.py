"""BYTES tensors: text in JSON, a 4-byte length before each element in binary data."""

from __future__ import annotations

from dataclasses import replace

from cxrserve.conformance.http_inference import (
    expect_equal,
    infer,
    infer_binary,
    outputs_of,
    request_of,
)
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Extension, Section, rest, triton
from cxrserve.conformance.tensors import Tensor, prefixed
from cxrserve.conformance.verdicts import NotApplicable

_SOURCE = triton("extension_binary_data")
_binary = HTTP(Section.BYTES, _SOURCE, extension=Extension.BINARY)


@HTTP(Section.BYTES, rest("Tensor Data"))
def text_is_accepted_in_JSON(server: HttpServer) -> None:  # noqa: N802 - the report's name
    outputs_of(infer(server, request_of(_sample(server))))


@_binary
def elements_with_a_length_before_each_are_accepted(server: HttpServer) -> None:
    outputs_of(infer_binary(server, _sample(server)))


@_binary
def binary_elements_answer_as_text_does(server: HttpServer) -> None:
    sample = _sample(server)
    expect_equal(infer_binary(server, sample), outputs_of(infer(server, request_of(sample))))


@_binary
def a_length_beyond_the_data_is_refused(server: HttpServer) -> None:
    _refused(server, b"\xff\xff\xff\x7fabc")


@_binary
def half_a_length_is_refused(server: HttpServer) -> None:
    _refused(server, b"\x01\x00")


@_binary
def too_many_elements_are_refused(server: HttpServer) -> None:
    count = len(_bytes_of(_sample(server)).elements)
    _refused(server, prefixed(b"0") * (count + 1))


@_binary
def too_few_elements_are_refused(server: HttpServer) -> None:
    _refused(server, b"")


@_binary
def any_bytes_survive_the_way_there_and_back(server: HttpServer) -> None:
    echo = _echo(server)
    for element in (b"", b"\x00\xff\xfe\n", b"x" * 70_000):
        sent = replace(echo, elements=(element,) * len(echo.elements))
        answer = infer_binary(server, [sent], parameters={"binary_data_output": True})
        (output,) = outputs_of(answer).values()
        if output.elements != sent.elements:
            raise answer.failure("the very bytes that were sent")


@_binary
def JSON_stays_UTF8_whatever_the_bytes(server: HttpServer) -> None:  # noqa: N802
    echo = _echo(server)
    sent = replace(echo, elements=(b"\xff\xfe",) * len(echo.elements))
    answer = infer_binary(server, [sent])
    if answer.status >= 400:
        return answer.refused()
    try:
        answer.body.decode("utf-8")
    except UnicodeDecodeError:
        raise answer.difference("a refusal, or JSON in UTF-8 (RFC 8259, 8.1)") from None
    return None


def _refused(server: HttpServer, tail: bytes) -> None:
    sample = _sample(server)
    chosen = _bytes_of(sample)
    document = request_of([t for t in sample if t is not chosen])
    document["inputs"].append(
        {
            "name": chosen.name,
            "datatype": "BYTES",
            "shape": list(chosen.shape),
            "parameters": {"binary_data_size": len(tail)},
        }
    )
    infer(server, document, tail=tail).refused()


def _sample(server: HttpServer) -> tuple[Tensor, ...]:
    return server.model.bytes_sample(server.options)


def _bytes_of(sample: tuple[Tensor, ...]) -> Tensor:
    return next(tensor for tensor in sample if tensor.datatype == "BYTES")


def _echo(server: HttpServer) -> Tensor:
    """The input of a model that gives back what it got."""
    sample = _sample(server)
    if len(sample) == 1 and len(server.model.outputs) == 1:
        answer = infer_binary(server, sample)
        if answer.status == 200:
            (output,) = outputs_of(answer).values()
            if output.elements == sample[0].elements:
                return sample[0]
    raise NotApplicable("needs a model that gives back its BYTES, as `simple_identity` does")
