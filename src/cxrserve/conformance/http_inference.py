"""Inference requests over HTTP: written as JSON or with a binary tail, answers read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cxrserve.conformance.http_server import Answer, HttpServer
from cxrserve.conformance.tensors import Tensor, from_json, from_raw
from cxrserve.conformance.verdicts import NotApplicable, Remark

HEADER = "Inference-Header-Content-Length"


def request_of(
    tensors: Sequence[Tensor], *, binary: Collection[str] = (), **members: Any
) -> dict[str, Any]:
    """OIP's `$inference_request`; inputs named in `binary` announce a tail instead of `data`."""
    return {"inputs": [_input(tensor, tensor.name in binary) for tensor in tensors], **members}


def _input(tensor: Tensor, is_binary: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "datatype": tensor.datatype,
    }
    if is_binary:
        return described | {"parameters": {"binary_data_size": len(tensor.raw())}}
    try:
        return described | {"data": tensor.json_data()}
    except UnicodeDecodeError:
        raise NotApplicable(
            f"what {tensor.name!r} holds is no text, JSON cannot carry it"
        ) from None


def infer(
    server: HttpServer,
    document: Any,
    *,
    tail: bytes = b"",
    version: str = "",
    model: str = "",
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST to `/infer`; with a tail, the header that says where it begins."""
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = dict(headers or {})
    if tail:
        named = {HEADER: str(len(head)), "Content-Type": "application/octet-stream"} | named
    path = server.model_path("/infer", version=version, model=model) + query
    return server.post(path, head + tail, headers=named)


def infer_binary(
    server: HttpServer,
    tensors: Sequence[Tensor],
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Answer:
    """All inputs in the tail."""
    document = request_of(tensors, binary=[tensor.name for tensor in tensors], **members)
    return infer(server, document, tail=tail_of(tensors), headers=headers)


def tail_of(tensors: Sequence[Tensor]) -> bytes:
    """The binary data of tensors, one after the other."""
    return b"".join(tensor.raw() for tensor in tensors)


def outputs_of(answer: Answer) -> dict[str, Tensor]:
    """The outputs of a successful inference, by name, in order; JSON and binary ones alike.

    Raises:
        Failed: it did not succeed, or is not as OIP's `$inference_response` or its binary form.
    """
    answer.ok()
    head, tail = _parted(answer)
    outputs = head.get("outputs") if isinstance(head, dict) else None
    if not isinstance(outputs, list):
        raise answer.failure("a JSON object with the array 'outputs'")
    tensors, at = {}, 0
    for one in outputs:
        tensor, size = _output(answer, one, tail[at:])
        tensors[tensor.name] = tensor
        at += size
    if at != len(tail):
        raise answer.failure(f"a tail of {at} bytes, as binary_data_size add up to; {len(tail)}")
    return tensors


def output_of(answer: Answer, name: str) -> Tensor:
    """One output of a successful inference.

    Raises:
        Failed: there is none of this name, or as for `outputs_of`.
    """
    outputs = outputs_of(answer)
    if name not in outputs:
        raise answer.failure(f"the output {name!r}")
    return outputs[name]


def head_of(answer: Answer) -> dict[str, Any]:
    """The JSON object of a successful inference.

    Raises:
        Failed: there is none.
    """
    answer.ok()
    head, _ = _parted(answer)
    if not isinstance(head, dict):
        raise answer.failure("a JSON object")
    return head


def reference(server: HttpServer) -> dict[str, Tensor]:
    """The outputs of the plainest inference, to compare others with.

    Raises:
        NotApplicable: not even that works; its own check says why.
    """
    try:
        return outputs_of(infer(server, request_of(server.sample)))
    except Remark as remark:
        raise NotApplicable(f"plain JSON inference does not work: {remark}") from None


def expect_equal(answer: Answer, expected: Mapping[str, Tensor]) -> None:
    """Demand these outputs, and no others.

    Raises:
        Failed: they differ.
    """
    outputs = outputs_of(answer)
    if set(outputs) != set(expected):
        raise answer.failure(f"the outputs {sorted(expected)}, not {sorted(outputs)}")
    for name, tensor in expected.items():
        if not outputs[name].equals(tensor):
            raise answer.failure(
                f"{name} = {tensor.datatype} {list(tensor.shape)} {list(tensor.elements[:16])}"
            )


def _parted(answer: Answer) -> tuple[Any, bytes]:
    length = answer.headers.get(HEADER)
    if length is None:
        return answer.json(), b""
    if not length.isascii() or not length.isdigit() or int(length) > len(answer.body):
        raise answer.failure(f"{HEADER} within the body of {len(answer.body)} bytes, not {length}")
    size = int(length)
    head = Answer(answer.sent, answer.status, answer.headers, answer.body[:size])
    return head.json(), answer.body[size:]


def _output(answer: Answer, one: Any, tail: bytes) -> tuple[Tensor, int]:
    shape = one.get("shape") if isinstance(one, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise answer.failure("each output an object with 'name', 'datatype' and 'shape'")
    name, datatype = str(one.get("name")), str(one.get("datatype"))
    parameters = one.get("parameters") or {}
    try:
        if not isinstance(parameters, dict):
            raise ValueError(f"parameters are {parameters!r}")
        size = parameters.get("binary_data_size")
        if size is None:
            return from_json(name, datatype, tuple(shape), one.get("data")), 0
        if type(size) is not int or size < 0:
            raise ValueError(f"binary_data_size is {size!r}")
        return from_raw(name, datatype, tuple(shape), tail[:size]), size
    except ValueError as reason:
        raise answer.failure(f"output {name!r} to hold what it declares: {reason}") from None
