"""The REST API: thin; it turns HTTP into questions and answers into JSON."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from cxrserve import __version__
from cxrserve.answer import NOTICE, Answer
from cxrserve.api import api_docs, batch, problems, render
from cxrserve.api import explain as explain_api
from cxrserve.api.asking import CALLER_GONE, ask, reading_of
from cxrserve.api.envelope import RequestEnvelope, problem_response
from cxrserve.api.model_views import detail_of, list_of
from cxrserve.api.oip_http import routes as oip_http
from cxrserve.batching.admission import Admission
from cxrserve.errors import CxrError, UnknownOption
from cxrserve.model_listing import ModelDetail, ModelList
from cxrserve.observability.drift import FindingStatistics
from cxrserve.observability.telemetry import Telemetry
from cxrserve.observability.tracing import Tracing
from cxrserve.oip.plane import Plane
from cxrserve.page import mount as page
from cxrserve.predictor import Question
from cxrserve.radiograph.limits import MIB
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings

_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
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
    telemetry = Telemetry(FindingStatistics(runtime.loaded), _tracing(runtime.settings))
    metrics = telemetry.metrics
    metrics.collect(runtime.families)
    admission = Admission(
        requests=runtime.settings.queue_size + runtime.settings.processors,
        upload_bytes=max(_MOST_INSIDE_BYTES, runtime.settings.limits().upload_bytes),
        turned_away=runtime.turned_away,
    )
    plane = app.state.plane = Plane(runtime, telemetry)
    app.state.runtime, app.state.telemetry, app.state.admission = runtime, telemetry, admission
    _handle_errors(app, runtime, telemetry)

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
        question: Annotated[Question, Depends(reading_of)],
    ) -> Response:
        predictor = runtime.predictor
        answer = await ask(
            request,
            admission,
            runtime.settings.limits(),
            question,
            lambda upload: predictor.predict(
                upload.data,
                question,
                request_id=request.state.id,
                content_type=upload.content_type,
            ),
        )
        telemetry.answered(answer)
        return Response(answer.model_dump_json(), media_type="application/json")

    batch.mount(app, runtime, admission, telemetry)
    oip_http.mount(app, plane, admission, telemetry, most_bytes=_most_bytes(runtime))
    explain_api.mount(app, runtime, admission, telemetry)
    render.mount(app, runtime, admission)
    page.mount(app, runtime)

    @app.get("/v1/models", response_model=ModelList, tags=["models"], summary="What is loaded")
    async def models() -> ModelList:
        return list_of(runtime.predictor.repository)

    @app.get(
        "/v1/models/{name}",
        response_model=ModelDetail,
        tags=["models"],
        summary="One model: labels, thresholds, figures, card, latency",
        responses={404: api_docs.PROBLEMS[404]},
    )
    async def one_model(name: str, version: str | None = None) -> ModelDetail:
        model = runtime.predictor.repository.get(name, version)
        return detail_of(model, runtime.predictor.batcher.queue_of(model.engine))

    @app.get(
        "/v1/models/{name}/plots/{file}",
        response_class=Response,
        tags=["models"],
        summary="A picture of the model's card: ROC, precision-recall, reliability",
        responses={
            200: {"content": {"image/png": {}}, "description": "The picture"},
            404: api_docs.PROBLEMS[404],
        },
    )
    async def one_plot(name: str, file: str, version: str | None = None) -> Response:
        package = runtime.predictor.repository.get(name, version).package
        if file not in package.plots():
            known = ", ".join(package.plots()) or "none"
            raise HTTPException(404, f"this model has no such picture; it has: {known}")
        return Response(await asyncio.to_thread(package.plot, file), media_type="image/png")

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        # BentoML's own front page would fetch a tag manager from outside.
        return RedirectResponse("/docs")

    @app.get("/metrics", include_in_schema=False)
    async def scrape(request: Request) -> Response:
        told, media_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(told, media_type=media_type)

    @app.api_route("/{path:path}", include_in_schema=False, methods=_ALL_METHODS)
    async def nothing_here(request: Request) -> Response:
        allowed = _allowed_methods(app, request)
        if allowed:
            raise HTTPException(405, "this path takes another method", {"Allow": allowed})
        raise HTTPException(404, "nothing is served at this path; see /docs")

    return app


def _tracing(settings: Settings) -> Tracing | None:
    if not settings.traces_endpoint:
        return None
    return Tracing.to(settings.traces_endpoint, share=settings.traces_share)


def _most_bytes(runtime: Runtime) -> int:
    """Of a request that may hold as many files as one upload's limit, and words about them."""
    return runtime.settings.limits().upload_bytes + MIB


def _allowed_methods(app: FastAPI, request: Request) -> str:
    methods: set[str] = set()
    for route in app.routes:
        match, _ = route.matches(request.scope)
        if match is Match.PARTIAL and isinstance(route, Route):
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


def _handle_errors(app: FastAPI, runtime: Runtime, telemetry: Telemetry) -> None:
    @app.exception_handler(CxrError)
    async def known(request: Request, error: CxrError) -> Response:
        telemetry.refused(error)
        document = problems.problem_of(error, request.state.id)
        return problem_response(document, problems.headers_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            {"option": str(fault["loc"][-1]), "fault": fault["msg"]} for fault in error.errors()
        ]
        unknown = UnknownOption(
            "; ".join(f"{fault['option']}: {fault['fault']}" for fault in faults), faults=faults
        )
        telemetry.refused(unknown)
        return problem_response(problems.problem_of(unknown, request.state.id))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        if error.status_code == CALLER_GONE:
            return Response(status_code=CALLER_GONE)
        headers = dict(error.headers or {})
        document = problems.http_problem(error.status_code, str(error.detail), request.state.id)
        return problem_response(document, headers)

    app.add_middleware(RequestEnvelope, telemetry=telemetry, is_leaving=lambda: runtime.is_leaving)
