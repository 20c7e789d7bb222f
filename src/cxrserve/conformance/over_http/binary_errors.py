"""Binary tails whose lengths lie."""

from __future__ import annotations

import json
from functools import partial

from cxrserve.conformance.checks import Check
from cxrserve.conformance.http_inference import HEADER, infer, request_of, tail_of
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Extension, Section, triton

_SOURCE = triton("extension_binary_data")
_errors = HTTP(Section.ERRORS, _SOURCE, extension=Extension.BINARY)

# What the header says, where the JSON is some 200 bytes long and the tail follows.
_LENGTHS = {
    "a negative header length is refused": "-1",
    "a header length beyond the body is refused": "99999999",
    "a header length beyond 64 bits is refused": "9" * 30,
    "a header length of zero is refused": "0",
    "a header length that cuts the JSON is refused": "10",
    "a header length that is no number is refused": "abc",
}
_SIZES: dict[str, object] = {
    "a negative binary size is refused": -1,
    "a binary size beyond the tail is refused": 2**62,
    "a binary size that is no number is refused": "64",
    "a binary size that is not the shape's is refused": 3,
}


def _refuses_length(length: str, server: HttpServer) -> None:
    binary = [tensor.name for tensor in server.sample]
    head = json.dumps(request_of(server.sample, binary=binary)).encode()
    infer(server, head, tail=tail_of(server.sample), headers={HEADER: length}).refused()


def _refuses_size(size: object, server: HttpServer) -> None:
    binary = [tensor.name for tensor in server.sample]
    document = request_of(server.sample, binary=binary)
    document["inputs"][0]["parameters"]["binary_data_size"] = size
    infer(server, document, tail=tail_of(server.sample)).refused()


for _name, _length in _LENGTHS.items():
    HTTP.add(
        Check(_name, Section.ERRORS, _SOURCE, Extension.BINARY, partial(_refuses_length, _length))
    )
for _name, _size in _SIZES.items():
    HTTP.add(Check(_name, Section.ERRORS, _SOURCE, Extension.BINARY, partial(_refuses_size, _size)))


@_errors
def a_tail_too_short_is_refused(server: HttpServer) -> None:
    _refuses_tail(server, tail_of(server.sample)[:-1])


@_errors
def a_tail_too_long_is_refused(server: HttpServer) -> None:
    _refuses_tail(server, tail_of(server.sample) + b"\x00" * 4)


@_errors
def data_and_a_tail_for_one_input_are_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    first = server.sample[0]
    document["inputs"][0]["parameters"] = {"binary_data_size": len(first.raw())}
    answer = infer(server, document, tail=first.raw())
    if answer.status == 200:
        raise answer.difference("a refusal: which of the two was taken, the client does not know")
    answer.refused()


def _refuses_tail(server: HttpServer, tail: bytes) -> None:
    binary = [tensor.name for tensor in server.sample]
    infer(server, request_of(server.sample, binary=binary), tail=tail).refused()
