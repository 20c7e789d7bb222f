"""Tensors behind the JSON, as bytes."""

from __future__ import annotations

import json

from cxrserve.conformance.arithmetic import simple_outputs
from cxrserve.conformance.http_inference import (
    HEADER,
    expect_equal,
    head_of,
    infer,
    infer_binary,
    reference,
    request_of,
    tail_of,
)
from cxrserve.conformance.http_server import HTTP, Answer, HttpServer
from cxrserve.conformance.model import batch_of_two
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotApplicable

_SOURCE = triton("extension_binary_data")
_binary = HTTP(Section.BINARY, _SOURCE, extension=Extension.BINARY)


@_binary
def binary_inputs_answer_as_JSON_ones(server: HttpServer) -> None:  # noqa: N802 - the report's
    expect_equal(infer_binary(server, server.sample), reference(server))


@_binary
def the_tail_is_in_the_order_of_the_inputs(server: HttpServer) -> None:
    _needs_two(server)
    expect_equal(infer_binary(server, server.sample[::-1]), reference(server))


@_binary
def JSON_and_binary_inputs_mix(server: HttpServer) -> None:  # noqa: N802
    _needs_two(server)
    expected = reference(server)
    for tensor in server.sample:
        document = request_of(server.sample, binary=[tensor.name])
        expect_equal(infer(server, document, tail=tensor.raw()), expected)


@_binary
def JSON_without_a_tail_may_name_its_length(server: HttpServer) -> None:  # noqa: N802
    head = json.dumps(request_of(server.sample)).encode()
    answer = infer(server, head, headers={HEADER: str(len(head))})
    expect_equal(answer, reference(server))


@_binary
def binary_data_output_makes_every_output_binary(server: HttpServer) -> None:
    answer = infer_binary(server, server.sample, parameters={"binary_data_output": True})
    expect_equal(answer, reference(server))
    _expect_binary(answer, {spec.name for spec in server.model.outputs})


@_binary
def binary_data_makes_one_output_binary(server: HttpServer) -> None:
    chosen, *others = [spec.name for spec in server.model.outputs]
    outputs: list[dict[str, object]] = [{"name": name} for name in others]
    outputs.append({"name": chosen, "parameters": {"binary_data": True}})
    answer = infer(server, request_of(server.sample, outputs=outputs))
    expect_equal(answer, reference(server))
    _expect_binary(answer, {chosen})


@_binary
def binary_data_of_an_output_overrides_the_request(server: HttpServer) -> None:
    chosen, *others = [spec.name for spec in server.model.outputs]
    outputs: list[dict[str, object]] = [{"name": name} for name in others]
    outputs.insert(0, {"name": chosen, "parameters": {"binary_data": False}})
    parameters = {"binary_data_output": True}
    answer = infer(server, request_of(server.sample, outputs=outputs, parameters=parameters))
    expect_equal(answer, reference(server))
    binary = _binary_outputs(answer)
    if chosen in binary:
        raise answer.failure(f"{chosen!r} in JSON: its own binary_data is false")
    if binary != set(others):
        raise answer.difference(
            f"binary: {others}; Triton forgets binary_data_output once outputs are listed"
        )


@_binary
def a_binary_answer_is_called_octets(server: HttpServer) -> None:
    answer = infer_binary(server, server.sample, parameters={"binary_data_output": True}).ok()
    kind = answer.headers.get("content-type", "")
    if kind != "application/octet-stream":
        raise answer.difference(f"Content-Type: application/octet-stream, not {kind!r}")


@_binary
def rows_of_a_binary_batch_stay_apart(server: HttpServer) -> None:
    tensors = batch_of_two(server.model)
    document = request_of(tensors, binary=[tensor.name for tensor in tensors])
    answer = infer(server, document, tail=tail_of(tensors))
    expect_equal(answer, simple_outputs(tensors))


def _needs_two(server: HttpServer) -> None:
    if len(server.sample) < 2:
        raise NotApplicable("needs two inputs at once")


def _expect_binary(answer: Answer, names: set[str]) -> None:
    seen = _binary_outputs(answer)
    if seen != names:
        raise answer.failure(f"binary: {sorted(names)}, and no others; not {sorted(seen)}")
    if HEADER not in answer.headers:
        raise answer.failure(f"the header {HEADER}")


def _binary_outputs(answer: Answer) -> set[str]:
    return {
        str(one["name"])
        for one in head_of(answer)["outputs"]
        if "data" not in one and "binary_data_size" in one.get("parameters", {})
    }
