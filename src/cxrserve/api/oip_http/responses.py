"""From an `InferResponse` to the body of an HTTP response, and errors as the protocol has them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response

from cxrserve.api.oip_http.requests import BINARY, BINARY_SIZE, HEADER_LENGTH
from cxrserve.api.problems import headers_of, status_of
from cxrserve.errors import CxrError
from cxrserve.oip.messages import InferRequest, InferResponse, Parameters, flag
from cxrserve.oip.shared_memory import OFFSET, REGION, SIZE, Regions
from cxrserve.oip.tensors import Tensor

JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"
# "404 not found, 503 unavailable, 501 unsupported, 400 otherwise" (Triton's protocol README);
# overload, lateness and our own failures keep statuses that say so.
_KEPT = frozenset({404, 429, 500, 501, 503, 504})
# Smaller ones would grow.
_WORTH_COMPRESSING = 1024
_QUICK = 1
_PIECE = 1 << 12


def infer_response(
    response: InferResponse, request: InferRequest, *, regions: Regions, all_binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Body and headers.

    Args:
        request: says which outputs are wanted as binary, or in shared memory.
        all_binary: where it names no outputs.
    """
    wanted: dict[str, Parameters] = {one.name: one.parameters for one in request.outputs}
    tail: list[bytes] = []
    outputs = []
    for tensor in response.outputs:
        parameters = wanted.get(tensor.name, {BINARY: all_binary})
        outputs.append(_output(tensor, parameters, tail, regions))
    head: dict[str, Any] = {"id": response.id} if response.id else {}
    head |= {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": dict(response.parameters),
    }
    text = json.dumps(head, allow_nan=False, separators=(",", ":"))
    header = f'{text[:-1]},"outputs":[{",".join(outputs)}]}}'.encode()
    if not tail:
        return header, {"Content-Type": JSON_TYPE}
    headers = {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(header))}
    return b"".join((header, *tail)), headers


def compressed(
    body: bytes, headers: Mapping[str, str], accept_encoding: str
) -> tuple[bytes, dict[str, str]]:
    """The body as the caller wants it, if it gains by that."""
    parts = [part.replace(" ", "").lower().partition(";q=") for part in accept_encoding.split(",")]
    wanted = [coding for coding, _, weight in parts if weight.strip("0.") or not weight]
    if len(body) >= _WORTH_COMPRESSING:
        if "gzip" in wanted:
            return gzip.compress(body, _QUICK), {**headers, "Content-Encoding": "gzip"}
        if "deflate" in wanted:
            return zlib.compress(body, _QUICK), {**headers, "Content-Encoding": "deflate"}
    return body, dict(headers)


def error_response(error: CxrError) -> Response:
    """`{"error": …}`, with what to do behind what was wrong."""
    status = status_of(error)
    text = f"{error.detail}; {error.advice}" if error.advice else error.detail
    return failure(text, status if status in _KEPT else 400, headers_of(error))


def failure(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the protocol has it; what it quotes may hold half a character."""
    readable = text.encode("utf-8", "replace").decode()
    return JSONResponse({"error": readable}, status_code=status, headers=dict(headers or {}))


def _output(tensor: Tensor, parameters: Parameters, tail: list[bytes], regions: Regions) -> str:
    """One output in JSON; its bytes go to `tail` where it is wanted as binary."""
    said: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
    }
    if REGION in parameters:
        raw = tensor.raw()
        regions.write(parameters, raw)
        place = {name: parameters[name] for name in (REGION, OFFSET) if name in parameters}
        return json.dumps(said | {"parameters": place | {SIZE: len(raw)}})
    if flag(parameters, BINARY):
        raw = tensor.raw()
        tail.append(raw)
        return json.dumps(said | {"parameters": {BINARY_SIZE: len(raw)}})
    return f'{json.dumps(said)[:-1]},"data":[{",".join(_values(tensor))}]}}'


def _values(tensor: Tensor) -> Iterator[str]:
    """Row-major, in pieces: the encoder lets no other thread run.

    Null for what is not a number, which JSON has no word for.
    """
    if isinstance(tensor.data, list):
        yield from (json.dumps(one.decode("utf-8", "replace")) for one in tensor.data)
        return
    flat = tensor.data.ravel()
    for start in range(0, len(flat), _PIECE):
        piece = flat[start : start + _PIECE]
        values: list[Any] = piece.tolist()
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            values = [value if np.isfinite(value) else None for value in values]
        yield json.dumps(values, separators=(",", ":"))[1:-1]
