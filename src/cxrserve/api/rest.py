"""The REST API: thin; it turns HTTP into questions and answers into JSON."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cxrserve import __version__
from cxrserve.answer import NOTICE, Answer
from cxrserve.api import api_docs, problems
from cxrserve.api.model_views import ModelDetail, ModelList, detail_of, list_of
from cxrserve.api.uploads import read_upload
from cxrserve.batching.admission import Admission
from cxrserve.batching.queue import Priority
from cxrserve.errors import CxrError, UnknownOption
from cxrserve.observability.metrics import Metrics
from cxrserve.predictor import Question
from cxrserve.radiograph.limits import MIB
from cxrserve.runtime import Runtime

_log = logging.getLogger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MOST_INSIDE_BYTES = 256 * MIB


def create_app(runtime: Runtime) -> FastAPI:
    """The ASGI application.

    Args:
        runtime: started and stopped by whoever owns the process, not by the application.
    """
    app = FastAPI(
        title="cxrserve",
        version=__version__,
        description=f"Chest radiographs in, findings out. **{NOTICE}**",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    api_docs.mount(app)
    metrics = Metrics()
    admission = Admission(
        requests=runtime.settings.queue_size + runtime.settings.decode_threads,
        upload_bytes=max(_MOST_INSIDE_BYTES, runtime.settings.limits().upload_bytes),
    )
    app.state.admission = admission
    _handle_errors(app, metrics)

    @app.post(
        "/v1/predict",
        response_model=Answer,
        tags=["predict"],
        summary="Read one chest radiograph",
        openapi_extra=api_docs.PREDICT_BODY,
        responses=api_docs.PROBLEMS,
    )
    async def predict(
        request: Request,
        *,
        model: Annotated[
            list[str] | None,
            Query(description="model to ask, `name` or `name@version`; repeatable"),
        ] = None,
        priority: Annotated[
            str, Query(description="stat, urgent or routine", examples=["routine"])
        ] = "routine",
        deadline_ms: Annotated[
            float | None, Query(gt=0, le=600_000, description="milliseconds for the answer")
        ] = None,
        operating_point: Annotated[
            str | None, Query(description="set of thresholds", examples=["balanced"])
        ] = None,
        explain: Annotated[bool, Query(description="give the heat map of each finding")] = False,
        force: Annotated[bool, Query(description="answer even what the gate refuses")] = False,
    ) -> Response:
        question = Question(
            models=tuple(model or ()),
            priority=_priority(priority),
            deadline_ms=deadline_ms,
            operating_point=operating_point,
            explain=explain,
            force=force,
        )
        predictor = runtime.predictor
        with admission.enter() as admitted:
            upload = await read_upload(request, runtime.settings.limits(), admitted)
            answer = await _unless_gone(
                request,
                predictor.predict(
                    upload.data,
                    question,
                    request_id=request.state.id,
                    content_type=upload.content_type,
                ),
            )
        metrics.answered(answer)
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.get("/v1/models", response_model=ModelList, tags=["models"], summary="What is loaded")
    async def models() -> ModelList:
        return list_of(runtime.predictor.repository)

    @app.get(
        "/v1/models/{name}",
        response_model=ModelDetail,
        tags=["models"],
        summary="One model: labels, thresholds, figures, card",
        responses={404: api_docs.PROBLEMS[404]},
    )
    async def one_model(name: str, version: str | None = None) -> ModelDetail:
        return detail_of(runtime.predictor.repository.get(name, version))

    return app


async def _unless_gone(request: Request, work: Any) -> Any:
    """Await `work`, and cancel it when the caller hangs up: nobody computes for the absent."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    except asyncio.CancelledError:
        task.cancel()
        raise HTTPException(499, "the caller hung up") from None
    finally:
        watch.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _priority(name: str) -> Priority:
    try:
        return Priority[name.upper()]
    except KeyError:
        choices = ", ".join(priority.name.lower() for priority in Priority)
        raise UnknownOption(
            f"there is no priority {name[:32]!r}",
            advice=f"choose one of: {choices}",
            option="priority",
        ) from None


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    @app.exception_handler(CxrError)
    async def known(request: Request, error: CxrError) -> Response:
        metrics.refused(error)
        document = problems.problem_of(error, request.state.id)
        return _problem(document, problems.headers_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            {"option": str(fault["loc"][-1]), "fault": fault["msg"]} for fault in error.errors()
        ]
        unknown = UnknownOption(
            "; ".join(f"{fault['option']}: {fault['fault']}" for fault in faults), faults=faults
        )
        metrics.refused(unknown)
        return _problem(problems.problem_of(unknown, request.state.id))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        if error.status_code == 499:
            return Response(status_code=499)
        headers = dict(error.headers or {})
        document = problems.http_problem(error.status_code, str(error.detail), request.state.id)
        return _problem(document, headers)

    app.add_middleware(_RequestIdentity)


def _problem(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(
        document,
        status_code=document["status"],
        headers=headers,
        media_type=problems.MEDIA_TYPE,
    )


class _RequestIdentity:
    """Gives every request an id, and turns what nobody foresaw into a problem document.

    The log gets the places of an unforeseen error but not its text, which may hold patient data.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = asked if _SAFE_ID.fullmatch(asked) else str(uuid.uuid4())
        scope.setdefault("state", {})["id"] = request_id
        started = False

        async def send_with_id(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode("latin-1")),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            _log.error("request %s failed: %s", request_id, _places(error))
            if started:
                raise ConnectionAbortedError("the answer broke off") from None
            document = problems.problem_of(
                CxrError("the service failed on this request", advice="report the instance"),
                request_id,
            )
            await _problem(document)(scope, receive, send_with_id)


def _places(error: BaseException) -> str:
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-6:]))}"
