"""Compressed bodies, there and back. Neither document asks for them; Triton and its clients do."""

from __future__ import annotations

import gzip
import json
import zlib

from cxrserve.conformance.http_inference import (
    HEADER,
    expect_equal,
    infer,
    infer_binary,
    reference,
    request_of,
    tail_of,
)
from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.specification import Extension, Section
from cxrserve.conformance.verdicts import NotOffered

_SOURCE = "Triton, customization_guide/inference_protocols, Compression"
_compression = HTTP(Section.COMPRESSION, _SOURCE)


@_compression
def a_gzip_body_is_read(server: HttpServer) -> None:
    _compressed(server, gzip.compress(_plain(server)), "gzip")


@_compression
def a_deflate_body_is_read(server: HttpServer) -> None:
    _compressed(server, zlib.compress(_plain(server)), "deflate")


@HTTP(Section.COMPRESSION, _SOURCE, extension=Extension.BINARY)
def the_header_length_counts_uncompressed_bytes(server: HttpServer) -> None:
    binary = [tensor.name for tensor in server.sample]
    head = json.dumps(request_of(server.sample, binary=binary)).encode()
    whole = gzip.compress(head + tail_of(server.sample))
    answer = infer(server, whole, headers={"Content-Encoding": "gzip", HEADER: str(len(head))})
    _read_or_not_offered(answer)
    expect_equal(answer, reference(server))


@_compression
def a_gzip_answer_is_sent_on_request(server: HttpServer) -> None:
    _answered(server, "gzip")


@_compression
def a_deflate_answer_is_sent_on_request(server: HttpServer) -> None:
    _answered(server, "deflate")


@HTTP(Section.COMPRESSION, _SOURCE, extension=Extension.BINARY)
def a_binary_answer_may_be_compressed(server: HttpServer) -> None:
    answer = infer_binary(
        server,
        server.sample,
        headers={"Accept-Encoding": "gzip"},
        parameters={"binary_data_output": True},
    )
    expect_equal(answer, reference(server))


@_compression
def an_answer_is_plain_unless_asked(server: HttpServer) -> None:
    answer = infer(server, request_of(server.sample)).ok()
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise answer.failure("no Content-Encoding, for Accept-Encoding was identity (RFC 9110)")


@_compression
def an_unknown_encoding_is_refused(server: HttpServer) -> None:
    infer(server, b"\x0b\x02\x80{}\x03", headers={"Content-Encoding": "br"}).refused()


@_compression
def a_body_that_is_not_gzip_is_refused(server: HttpServer) -> None:
    infer(server, b"this is not gzip", headers={"Content-Encoding": "gzip"}).refused()


@_compression
def a_gzip_body_that_breaks_off_is_refused(server: HttpServer) -> None:
    whole = gzip.compress(_plain(server))
    half = whole[: len(whole) // 2]
    infer(server, half, headers={"Content-Encoding": "gzip"}).refused()


def _plain(server: HttpServer) -> bytes:
    return json.dumps(request_of(server.sample)).encode()


def _compressed(server: HttpServer, body: bytes, encoding: str) -> None:
    answer = infer(server, body, headers={"Content-Encoding": encoding})
    _read_or_not_offered(answer)
    expect_equal(answer, reference(server))


def _read_or_not_offered(answer: Answer) -> None:
    if 400 <= answer.status < 500 or answer.status == 501:
        raise NotOffered("compressed bodies are refused", sent=answer.sent, came=answer.came)


def _answered(server: HttpServer, encoding: str) -> None:
    document = request_of(server.sample)
    answer = infer(server, document, headers={"Accept-Encoding": encoding})
    expect_equal(answer, reference(server))
    if answer.headers.get("content-encoding") != encoding:
        # A client offers, a server may decline (RFC 9110, 12.5.3).
        raise NotOffered("the answer came uncompressed")
