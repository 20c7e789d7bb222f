"""The protocol's paths. Triton's clients, KServe's and MLServer's ask these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from cxrserve.api.asking import CALLER_GONE, unless_gone
from cxrserve.api.envelope import unforeseen
from cxrserve.api.oip_http.api_docs import ERROR, INFER_ANSWER, INFER_BODY
from cxrserve.api.oip_http.bodies import body_of
from cxrserve.api.oip_http.requests import BINARY_OUTPUT, HEADER_LENGTH, infer_request
from cxrserve.api.oip_http.responses import compressed, error_response, failure, infer_response
from cxrserve.batching.admission import Admission
from cxrserve.errors import BadTensor, CxrError, NotOffered
from cxrserve.observability.telemetry import Telemetry
from cxrserve.oip.inference import Caller
from cxrserve.oip.messages import InferRequest, InferResponse, flag, whole
from cxrserve.oip.plane import Plane
from cxrserve.radiograph.limits import MIB

_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MODEL = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
_SMALL = MIB
# Reading or writing more than this would hold up the event loop.
_LARGE = 1 << 16


def mount(
    app: FastAPI, plane: Plane, admission: Admission, telemetry: Telemetry, *, most_bytes: int
) -> None:
    """Serve `/v2`.

    Args:
        most_bytes: of one request's body.
    """
    router = APIRouter(
        route_class=_answering_in_its_own_words(telemetry),
        tags=["oip"],
        responses={"default": ERROR},
    )
    _mount_server(router, plane)
    _mount_settings(router, plane, admission)
    _mount_models(router, plane)
    _mount_inference(router, plane, admission, most_bytes)
    _mount_control(router, plane, admission)
    _mount_shared_memory(router, plane, admission)

    @router.api_route("/v2/{path:path}", methods=_ALL_METHODS, include_in_schema=False)
    async def nothing_here() -> Response:
        return failure("nothing is served at this path", 404)

    app.include_router(router)


def _mount_server(router: APIRouter, plane: Plane) -> None:
    @router.get("/v2/health/live", summary="The process lives")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", summary="Models are loaded and warm")
    async def ready() -> Response:
        return JSONResponse({"ready": plane.is_ready}, 200 if plane.is_ready else 503)

    @router.get("/v2", summary="Name, version, extensions")
    @router.get("/v2/", include_in_schema=False)
    async def server() -> dict[str, Any]:
        return plane.server_metadata()


def _mount_settings(router: APIRouter, plane: Plane, admission: Admission) -> None:
    for path in ("/v2/trace/setting", "/v2/models/{model}/trace/setting"):

        @router.get(path, summary="Nothing is traced")
        async def trace(model: str = "") -> dict[str, Any]:
            if model:
                plane.check_model(model)
            return plane.set_trace({})

        @router.post(path, summary="Nothing can be made to be traced")
        async def set_trace(request: Request, model: str = "") -> dict[str, Any]:
            if model:
                plane.check_model(model)
            return plane.set_trace(await _small_json(request, admission))

    @router.get("/v2/logging", summary="How the log is written")
    async def log() -> dict[str, Any]:
        return plane.set_log({})

    @router.post("/v2/logging", summary="A setting of the process")
    async def set_log(request: Request) -> dict[str, Any]:
        return plane.set_log(await _small_json(request, admission))


def _mount_models(router: APIRouter, plane: Plane) -> None:
    @router.get("/v2/models/stats", summary="What all have done")
    async def all_statistics() -> dict[str, Any]:
        return plane.statistics("", "")

    for base in _MODEL:

        @router.get(f"{base}/ready", summary="This model is loaded")
        async def ready(model: str, version: str = "") -> dict[str, Any]:
            plane.check_model(model, version)
            return {"name": model, "ready": True}

        @router.get(base, summary="Inputs and outputs")
        async def metadata(model: str, version: str = "") -> dict[str, Any]:
            return plane.model_metadata(model, version)

        @router.get(f"{base}/config", summary="As Triton's ModelConfig")
        async def config(model: str, version: str = "") -> dict[str, Any]:
            return plane.model_config(model, version)

        @router.get(f"{base}/stats", summary="What it has done")
        async def statistics(model: str, version: str = "") -> dict[str, Any]:
            return plane.statistics(model, version)


def _mount_inference(
    router: APIRouter, plane: Plane, admission: Admission, most_bytes: int
) -> None:
    for base in _MODEL:

        @router.post(
            f"{base}/infer",
            summary="Run a model",
            openapi_extra=INFER_BODY,
            response_class=Response,
            responses=INFER_ANSWER,
        )
        async def infer(request: Request, model: str, version: str = "") -> Response:
            with admission.enter() as admitted:
                body = await body_of(request, admitted, most_bytes=most_bytes)
                read = partial(
                    infer_request,
                    body,
                    request.headers.get(HEADER_LENGTH),
                    model=model,
                    version=version,
                    regions=plane.regions,
                )
                asked = await asyncio.to_thread(read) if len(body) > _LARGE else read()
                caller = Caller(client=request.client.host if request.client else "")
                given = await unless_gone(request, plane.infer(asked, caller))
                write = partial(
                    _written, given, asked, plane, request.headers.get("accept-encoding", "")
                )
                large = given.nbytes() > _LARGE
                answer, headers = await asyncio.to_thread(write) if large else write()
            return Response(answer, headers=headers)


def _written(
    given: InferResponse, asked: InferRequest, plane: Plane, accept_encoding: str
) -> tuple[bytes, dict[str, str]]:
    all_binary = flag(asked.parameters, BINARY_OUTPUT)
    answer, headers = infer_response(given, asked, regions=plane.regions, all_binary=all_binary)
    return compressed(answer, headers, accept_encoding)


def _mount_control(router: APIRouter, plane: Plane, admission: Admission) -> None:
    @router.post("/v2/repository/index", summary="Models of the folder")
    async def index(request: Request) -> list[dict[str, Any]]:
        asked = await _small_json(request, admission)
        return await plane.index(ready=flag(asked, "ready"))

    @router.post(
        "/v2/repository/models/{model}/load",
        summary="Load, where it is allowed",
        response_class=Response,
    )
    async def load(request: Request, model: str) -> Response:
        await plane.load(model, await _parameters(request, admission))
        return Response()

    @router.post(
        "/v2/repository/models/{model}/unload",
        summary="Unload, where it is allowed",
        response_class=Response,
    )
    async def unload(request: Request, model: str) -> Response:
        parameters = await _parameters(request, admission)
        await plane.unload(model, parameters)
        return Response()


def _mount_shared_memory(router: APIRouter, plane: Plane, admission: Admission) -> None:
    base, region = "/v2/systemsharedmemory", "/region/{name}"

    for path in ("", region):

        @router.get(f"{base}{path}/status", summary="Registered regions")
        async def status(name: str = "") -> list[dict[str, Any]]:
            return [one.as_dict() for one in plane.regions.status(name)]

        @router.post(f"{base}{path}/unregister", summary="Forget regions", response_class=Response)
        async def unregister(name: str = "") -> Response:
            plane.regions.unregister(name)
            return Response()

    @router.post(
        f"{base}{region}/register", summary="Let requests use a region", response_class=Response
    )
    async def register(request: Request, name: str) -> Response:
        asked = await _small_json(request, admission)
        key = asked.get("key")
        if not isinstance(key, str):
            raise BadTensor("a shared memory region needs a `key`")
        plane.regions.register(
            name, key, offset=whole(asked, "offset"), byte_size=whole(asked, "byte_size")
        )
        return Response()

    for path in ("", region):

        @router.get(f"/v2/cudasharedmemory{path}/status", summary="No region: it is not served")
        async def cuda_status(name: str = "") -> list[dict[str, Any]]:
            return []

        # Clients forget all regions when they begin and end; there are none to forget.
        @router.post(
            f"/v2/cudasharedmemory{path}/unregister",
            summary="Nothing to forget",
            response_class=Response,
        )
        async def cuda_unregister(name: str = "") -> Response:
            return Response()

    @router.api_route(
        "/v2/cudasharedmemory/{path:path}", methods=["GET", "POST"], include_in_schema=False
    )
    async def cuda() -> Response:
        raise NotOffered("CUDA shared memory is not served", advice="send the tensors")


async def _parameters(request: Request, admission: Admission) -> dict[str, Any]:
    parameters = (await _small_json(request, admission)).get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadTensor("`parameters` must be an object")
    return parameters


async def _small_json(request: Request, admission: Admission) -> dict[str, Any]:
    with admission.enter() as admitted:
        body = await body_of(request, admitted, most_bytes=_SMALL)
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadTensor("failed to parse the request JSON buffer: it is no JSON") from error
    if not isinstance(asked, dict):
        raise BadTensor("the body must be a JSON object")
    return asked


def _answering_in_its_own_words(telemetry: Telemetry) -> type[APIRoute]:
    """Routes whose errors are `{"error": …}`."""

    class OipRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def in_its_own_words(request: Request) -> Response:
                try:
                    return await answer(request)
                except CxrError as error:
                    telemetry.refused(error)
                    return error_response(error)
                except RequestValidationError as error:
                    return failure(str(error.errors()[0]["msg"]), 400)
                except HTTPException as error:
                    if error.status_code == CALLER_GONE:
                        return Response(status_code=CALLER_GONE)
                    return failure(str(error.detail), error.status_code)
                except Exception as error:  # noqa: BLE001 - the last line of defence
                    known = unforeseen(error, request.state.id)
                    telemetry.refused(known)
                    return error_response(known)

            return in_its_own_words

    return OipRoute
