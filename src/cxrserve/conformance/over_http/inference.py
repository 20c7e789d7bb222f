"""Inference in plain JSON."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cxrserve.conformance.arithmetic import simple_outputs
from cxrserve.conformance.http_inference import (
    expect_equal,
    head_of,
    infer,
    outputs_of,
    reference,
    request_of,
)
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.model import batch_of_two
from cxrserve.conformance.specification import Section, rest
from cxrserve.conformance.tensors import nested

_INFERENCE, _DATA = rest("Inference"), rest("Tensor Data")
_RESPONSE = rest("Inference Response JSON Object")
_CALLERS = 8


@HTTP(Section.INFERENCE, _INFERENCE)
def an_inference_answers_with_every_output(server: HttpServer) -> None:
    answer = infer(server, request_of(server.sample))
    outputs = outputs_of(answer)
    for spec in server.model.outputs:
        found = outputs.get(spec.name)
        if found is None:
            raise answer.failure(f"the output {spec.name!r}: none was asked for, so all are due")
        if found.datatype != spec.datatype or not spec.admits(found.shape):
            raise answer.failure(f"{spec.name!r} as {spec.datatype} {list(spec.shape)}")


@HTTP(Section.INFERENCE, _RESPONSE)
def an_answer_names_its_model(server: HttpServer) -> None:
    answer = infer(server, request_of(server.sample))
    if head_of(answer).get("model_name") != server.options.model:
        raise answer.failure(f"'model_name': {server.options.model!r}")


@HTTP(Section.INFERENCE, _INFERENCE)
def an_answer_is_called_JSON(server: HttpServer) -> None:  # noqa: N802 - the report's name
    answer = infer(server, request_of(server.sample)).ok()
    kind = answer.headers.get("content-type", "")
    if kind.partition(";")[0].strip() != "application/json":
        raise answer.failure(f"Content-Type: application/json, not {kind!r}")


@HTTP(Section.INFERENCE, _INFERENCE)
def sums_and_differences_are_right(server: HttpServer) -> None:
    server.model.needs_simple()
    expect_equal(infer(server, request_of(server.sample)), simple_outputs(server.sample))


@HTTP(Section.INFERENCE, _INFERENCE)
def inputs_are_known_by_name_not_by_order(server: HttpServer) -> None:
    server.model.needs_simple()
    answer = infer(server, request_of(server.sample[::-1]))
    expect_equal(answer, simple_outputs(server.sample))


@HTTP(Section.INFERENCE, _DATA)
def nested_data_are_the_same_as_flat(server: HttpServer) -> None:
    document = request_of(server.sample)
    for one, tensor in zip(document["inputs"], server.sample, strict=True):
        one["data"] = nested(one["data"], tensor.shape)
    expect_equal(infer(server, document), reference(server))


@HTTP(Section.INFERENCE, rest("Request Input"))
def rows_of_a_batch_stay_apart(server: HttpServer) -> None:
    tensors = batch_of_two(server.model)
    expect_equal(infer(server, request_of(tensors)), simple_outputs(tensors))


@HTTP(Section.INFERENCE, _INFERENCE)
def callers_at_once_get_their_own_answers(server: HttpServer) -> None:
    server.model.needs_simple()
    requests = [
        server.model.simple_inputs((caller,) * 16, tuple(range(16))) for caller in range(_CALLERS)
    ]
    with ThreadPoolExecutor(_CALLERS) as callers:
        answers = callers.map(lambda tensors: infer(server, request_of(tensors)), requests)
        for tensors, answer in zip(requests, answers, strict=True):
            expect_equal(answer, simple_outputs(tensors))


@HTTP(Section.QUERY, _INFERENCE)
def unknown_query_parameters_are_ignored(server: HttpServer) -> None:
    # The specification is silent; tritonclient offers `query_params`, Triton ignores them.
    for answer in (
        server.get(server.model_path() + "?test_1=1&test_2=2"),
        infer(server, request_of(server.sample), query="?test_1=1&test_2=2"),
    ):
        if answer.status != 200:
            raise answer.difference("parameters of the query to be ignored")
