"""A little server that speaks the protocol over HTTP; and the same with a fault, when told.

Its models are `simple` (sums and differences) and `simple_identity` (BYTES come back).
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cxrserve.conformance.tensors import Tensor, from_json, from_raw

_EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
]
_INPUTS = {
    "simple": {"INPUT0": ("INT32", 16), "INPUT1": ("INT32", 16)},
    "simple_identity": {"INPUT0": ("BYTES", -1)},
}
_OUTPUTS = {
    "simple": {"OUTPUT0": ("INT32", 16), "OUTPUT1": ("INT32", 16)},
    "simple_identity": {"OUTPUT0": ("BYTES", -1)},
}
_HEADER = "inference-header-content-length"
_MAX_BATCH = 8


class Refusal(Exception):
    """What a request is answered with instead."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class LittleServer:
    """The application is `app`; `fault` names what it does wrong, "" nothing."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.loaded = set(_INPUTS)
        self.requests = dict.fromkeys(_INPUTS, 0)
        self.rows = dict.fromkeys(_INPUTS, 0)
        one = "/v2/models/{model}"
        versioned = one + "/versions/{version}"
        routes = [
            Route("/v2", self._server),
            Route("/v2/health/{word}", self._health),
            Route("/v2/models/stats", self._stats),
            Route("/v2/repository/index", self._index, methods=["POST"]),
            Route("/v2/repository/models/{model}/{verb}", self._control, methods=["POST"]),
        ]
        for path in (one, versioned):
            routes += [
                Route(path, self._metadata),
                Route(path + "/config", self._config),
                Route(path + "/ready", self._ready),
                Route(path + "/stats", self._stats),
                Route(path + "/infer", self._infer, methods=["POST"]),
            ]
        self.app = Starlette(
            routes=routes,
            exception_handlers={
                Refusal: _refused,
                404: _not_there,
                405: _not_there,
                501: _not_there,
            },
        )

    async def _server(self, _: Request) -> Response:
        return JSONResponse({"name": "little", "version": "1", "extensions": _EXTENSIONS})

    async def _health(self, request: Request) -> Response:
        return JSONResponse({request.path_params["word"]: self.fault != "sick"})

    async def _metadata(self, request: Request) -> Response:
        model = self._model(request)
        versions = [] if self.fault == "no versions" else ["1"]
        document: dict[str, Any] = {"name": model, "versions": versions, "platform": "little"}
        for member, tensors in (("inputs", _INPUTS[model]), ("outputs", _OUTPUTS[model])):
            document[member] = [
                {"name": name, "datatype": self._spelt(datatype), "shape": [-1, size]}
                for name, (datatype, size) in tensors.items()
            ]
        return JSONResponse(document)

    def _spelt(self, datatype: str) -> str:
        return datatype.lower() if self.fault == "datatypes in small letters" else datatype

    async def _config(self, request: Request) -> Response:
        model = self._model(request)
        document: dict[str, Any] = {"name": model, "max_batch_size": _MAX_BATCH}
        for member, tensors in (("input", _INPUTS[model]), ("output", _OUTPUTS[model])):
            document[member] = [
                {
                    "name": name,
                    "data_type": "TYPE_" + datatype.replace("BYTES", "STRING"),
                    "dims": [size + 1 if self.fault == "configured another size" else size],
                }
                for name, (datatype, size) in tensors.items()
            ]
        return JSONResponse(document)

    async def _ready(self, request: Request) -> Response:
        model = self._model(request)
        if model not in self.loaded:
            raise Refusal(f"{model} is not loaded", 503 if self.fault == "503" else 400)
        return JSONResponse({"name": model, "ready": True})

    async def _stats(self, request: Request) -> Response:
        models = [self._model(request)] if "model" in request.path_params else list(_INPUTS)
        return JSONResponse({"model_stats": [self._statistics(model) for model in models]})

    def _statistics(self, model: str) -> dict[str, Any]:
        count = 0 if self.fault == "statistics stand still" else self.requests[model]
        names = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        return {
            "name": model,
            "version": "1",
            "inference_count": count if self.fault == "requests for rows" else self.rows[model],
            "inference_stats": {name: {"count": count, "ns": 1} for name in names},
        }

    async def _index(self, request: Request) -> Response:
        _json(await request.body() or b"{}")
        hidden = "simple" if self.fault == "the index forgets" else ""
        return JSONResponse(
            [
                {"name": model, "version": "1", "state": "READY", "reason": ""}
                for model in sorted(self.loaded - {hidden})
            ]
        )

    async def _control(self, request: Request) -> Response:
        model = self._model(request)
        if request.path_params["verb"] == "load":
            self.loaded.add(model)
        elif self.fault != "unloading does nothing":
            self.loaded.discard(model)
        return Response()

    def _model(self, request: Request) -> str:
        model: str = request.path_params["model"]
        if model not in _INPUTS:
            if self.fault == "crashes on unknown models":
                raise KeyError(model)
            raise Refusal(f"unknown model {model!r}", 400 if self.fault == "never 404" else 404)
        if request.path_params.get("version", "1") != "1" and self.fault != "any version":
            raise Refusal("unknown version", 404)
        return model

    async def _infer(self, request: Request) -> Response:
        model = self._model(request)
        if model not in self.loaded:
            raise Refusal(f"{model} is not loaded", 400)
        document, tail = self._parted(request, _unpacked(request, await request.body()))
        if not isinstance(document, dict):
            raise Refusal("no object")
        _check_parameters(document.get("parameters", {}))
        inputs = self._inputs(model, document, tail)
        self.requests[model] += 1
        self.rows[model] += inputs["INPUT0"].shape[0]
        return self._answer(request, model, document, self._outputs(model, inputs))

    def _parted(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        length = request.headers.get(_HEADER)
        if length is None:
            return self._read(body), b""
        if self.fault == "believes the header" and length == "-1":
            document, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
            return document, body[end:]
        if not length.isdigit() or not 0 < int(length) <= len(body):
            raise Refusal(f"header length {length}")
        return self._read(body[: int(length)]), body[int(length) :]

    def _read(self, body: bytes) -> Any:
        if self.fault == "crashes on broken JSON":
            return json.loads(body)
        return _json(body)

    def _inputs(self, model: str, document: dict[str, Any], tail: bytes) -> dict[str, Tensor]:
        listed = document.get("inputs")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise Refusal("inputs")
        if self.fault == "the tail by name":
            listed = sorted(listed, key=lambda one: str(one.get("name")))
        tensors: dict[str, Tensor] = {}
        for one in listed:
            tensor, tail = self._input(model, one, tail)
            if tensor.name in tensors:
                raise Refusal("twice")
            tensors[tensor.name] = tensor
        if tail and self.fault != "what is left of the tail is dropped":
            raise Refusal("the tail is too long")
        if set(tensors) != set(_INPUTS[model]):
            raise Refusal("inputs are missing")
        if len({tensor.shape[0] for tensor in tensors.values()}) > 1:
            raise Refusal("batches differ")
        return tensors

    def _input(self, model: str, one: dict[str, Any], tail: bytes) -> tuple[Tensor, bytes]:
        name, datatype, shape = one.get("name"), one.get("datatype"), one.get("shape")
        expected = _INPUTS[model].get(str(name))
        if expected is None or expected[0] != datatype:
            raise Refusal("name or datatype")
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise Refusal("shape")
        if len(shape) != 2 or expected[1] not in (-1, shape[1]) or shape[0] > _MAX_BATCH:
            raise Refusal("shape")
        parameters = one.get("parameters", {})
        if "shared_memory_region" in parameters:
            raise Refusal("no shared memory", 501)
        size = parameters.get("binary_data_size")
        try:
            if size is None:
                _check_elements(str(datatype), one.get("data"))
                return from_json(str(name), str(datatype), tuple(shape), one.get("data")), tail
            if type(size) is not int or not 0 <= size <= len(tail) or "data" in one:
                raise Refusal("binary_data_size")
            raw = from_raw(str(name), str(datatype), tuple(shape), tail[:size])
        except ValueError as error:
            raise Refusal(str(error)) from None
        return raw, tail[size:]

    def _outputs(self, model: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        first = inputs["INPUT0"]
        if model == "simple_identity":
            elements = first.elements
            if self.fault == "bytes lose their end":
                elements = tuple(one.rstrip(b"\n") for one in elements if isinstance(one, bytes))
            return {"OUTPUT0": Tensor("OUTPUT0", "BYTES", first.shape, elements)}
        pairs = list(zip(first.elements, inputs["INPUT1"].elements, strict=True))
        sums = [int(a) + int(b) for a, b in pairs]
        if self.fault == "rows change places" and first.shape[0] == 2:
            sums = sums[16:] + sums[:16]
        if self.fault == "one sum is off":
            sums[7] += 1
        return {
            "OUTPUT0": Tensor("OUTPUT0", "INT32", first.shape, tuple(sums)),
            "OUTPUT1": Tensor(
                "OUTPUT1", "INT32", first.shape, tuple(int(a) - int(b) for a, b in pairs)
            ),
        }

    def _answer(
        self, request: Request, model: str, document: dict[str, Any], outputs: dict[str, Tensor]
    ) -> Response:
        asked = {one["name"]: one.get("parameters", {}) for one in document.get("outputs") or ()}
        if set(asked) - set(outputs):
            raise Refusal("unknown output")
        if not asked or self.fault == "all outputs always":
            asked = {name: {} for name in outputs} | asked
        head: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": []}
        if document.get("id") and self.fault != "the id is lost":
            head["id"] = document["id"]
        default = document.get("parameters", {}).get("binary_data_output", False)
        tail = b""
        for name, parameters in asked.items():
            tensor = self._classified(outputs[name], parameters.get("classification"))
            is_binary = parameters.get("binary_data", default) and self.fault != "never binary"
            one: dict[str, Any] = {
                "name": name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
            }
            if is_binary:
                one["parameters"] = {"binary_data_size": len(tensor.raw())}
                tail += tensor.raw()
            else:
                try:
                    one["data"] = tensor.json_data()
                except UnicodeDecodeError:
                    raise Refusal("no text, ask for binary_data") from None
            head["outputs"].append(one)
        return self._packed(request, head, tail)

    def _classified(self, tensor: Tensor, count: Any) -> Tensor:
        if count is None:
            return tensor
        if type(count) is not int or not 0 < count <= len(tensor.elements):
            raise Refusal("classification")
        numbers = [int(one) for one in tensor.elements]
        order = sorted(range(len(numbers)), key=lambda i: -numbers[i])
        if self.fault == "the lowest class first":
            order.reverse()
        texts = tuple(f"{numbers[i]}:{i}".encode() for i in order[:count])
        return Tensor(tensor.name, "BYTES", (1, count), texts)

    def _packed(self, request: Request, head: dict[str, Any], tail: bytes) -> Response:
        text = json.dumps(head).encode()
        body, headers = text + tail, {"content-type": "application/json"}
        if tail:
            length = len(text) + (1 if self.fault == "the header is one off" else 0)
            headers = {"content-type": "application/octet-stream", _HEADER: str(length)}
        accepted = request.headers.get("accept-encoding", "")
        if self.fault == "gzip for everyone":
            accepted = "gzip"
        if accepted in ("gzip", "deflate"):
            headers["content-encoding"] = accepted
            body = gzip.compress(body) if accepted == "gzip" else zlib.compress(body)
        return Response(body, headers=headers)


def _unpacked(request: Request, body: bytes) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    try:
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(str(error)) from None
    if encoding != "identity":
        raise Refusal("unknown encoding", 415)
    return body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(str(error)) from None


def _check_parameters(parameters: dict[str, Any]) -> None:
    for name in ("priority", "timeout"):
        if type(parameters.get(name, 0)) is not int:
            raise Refusal(name)


def _check_elements(datatype: str, data: Any) -> None:
    if not isinstance(data, list):
        raise Refusal("data")
    for one in data:
        if isinstance(one, list):
            _check_elements(datatype, one)
        elif datatype == "BYTES" and not isinstance(one, str):
            raise Refusal("no text")
        elif datatype == "INT32" and (type(one) is not int or not -(2**31) <= one < 2**31):
            raise Refusal("no INT32")


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refusal) else 500
    return JSONResponse({"error": str(error)}, status)


async def _not_there(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "not here"}, int(getattr(error, "status_code", 404)))
