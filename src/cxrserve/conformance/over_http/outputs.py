"""Outputs that are asked for, as tensors or as classes."""

from __future__ import annotations

from cxrserve.conformance.arithmetic import class_faults, classifiable
from cxrserve.conformance.http_inference import (
    expect_equal,
    infer,
    output_of,
    outputs_of,
    reference,
    request_of,
)
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Extension, Section, rest, triton
from cxrserve.conformance.verdicts import NotApplicable

_OUTPUT = rest("Request Output")
_classification = HTTP(
    Section.CLASSIFICATION,
    triton("extension_classification"),
    extension=Extension.CLASSIFICATION,
)


@HTTP(Section.OUTPUTS, _OUTPUT)
def only_the_output_asked_for_comes(server: HttpServer) -> None:
    for name, tensor in reference(server).items():
        answer = infer(server, request_of(server.sample, outputs=[{"name": name}]))
        expect_equal(answer, {name: tensor})


@HTTP(Section.OUTPUTS, _OUTPUT)
def an_unknown_output_is_refused(server: HttpServer) -> None:
    answer = infer(server, request_of(server.sample, outputs=[{"name": "no-such-output"}]))
    if answer.status == 200:
        raise answer.difference("a refusal: an output that was asked for is not there")
    answer.refused()


@HTTP(Section.OUTPUTS, _OUTPUT)
def an_empty_list_of_outputs_means_all(server: HttpServer) -> None:
    # "Optional, if not specified all outputs": whether empty is specified, it does not say.
    answer = infer(server, request_of(server.sample, outputs=[]))
    if answer.status != 200 or set(outputs_of(answer)) != set(reference(server)):
        raise answer.difference("all outputs")


@_classification
def the_highest_class_comes_first(server: HttpServer) -> None:
    name, values = classifiable(reference(server))
    count = min(2, len(values.elements))
    outputs = [{"name": name, "parameters": {"classification": count}}]
    answer = infer(server, request_of(server.sample, outputs=outputs))
    fault = class_faults(output_of(answer, name), values, count)
    if fault:
        raise answer.failure(fault)


@_classification
def classes_may_be_binary(server: HttpServer) -> None:
    name, values = classifiable(reference(server))
    if Extension.BINARY not in server.extensions:
        raise NotApplicable(f"needs {Extension.BINARY}")
    outputs = [{"name": name, "parameters": {"classification": 1, "binary_data": True}}]
    answer = infer(server, request_of(server.sample, outputs=outputs))
    fault = class_faults(output_of(answer, name), values, 1)
    if fault:
        raise answer.failure(fault)


@_classification
def a_negative_count_of_classes_is_refused(server: HttpServer) -> None:
    name, _ = classifiable(reference(server))
    outputs = [{"name": name, "parameters": {"classification": -1}}]
    infer(server, request_of(server.sample, outputs=outputs)).refused()
