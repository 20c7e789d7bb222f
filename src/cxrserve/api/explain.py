"""`POST /v1/explain`: a class map over its radiograph, or in figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response

from cxrserve.answer import Explanation
from cxrserve.api import api_docs
from cxrserve.api.accept import chosen_type
from cxrserve.api.asking import ask, question_of
from cxrserve.batching.admission import Admission
from cxrserve.observability.telemetry import Telemetry
from cxrserve.predictor import Question
from cxrserve.runtime import Runtime

PNG, JSON = "image/png", "application/json"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the radiograph with the class map over it, or (Accept) figures",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
        "model": Explanation,
    },
    **api_docs.PROBLEMS,
    404: api_docs.problem(404, "label_not_found", "tb-mobilenetv2 gives no class map of 'x'"),
    406: api_docs.problem(406, "not_acceptable", "no media type of the Accept header is given"),
}


def mount(app: FastAPI, runtime: Runtime, admission: Admission, telemetry: Telemetry) -> None:
    """Serve `/v1/explain`."""

    @app.post(
        "/v1/explain",
        response_class=Response,
        tags=["predict"],
        summary="Show where one finding comes from",
        openapi_extra=api_docs.PREDICT_BODY,
        responses=_RESPONSES,
    )
    async def explain(
        request: Request,
        *,
        label: Annotated[str, Query(description="which finding", examples=["pneumonia"])],
        model: Annotated[
            str | None,
            Query(description="`name` or `name@version`; else the first default model with it"),
        ] = None,
        options: Annotated[Question, Depends(question_of)],
    ) -> Response:
        predictor = runtime.predictor
        kind = chosen_type(request.headers.get("accept"), (PNG, JSON))
        question = replace(options, models=(model,) if model else ())
        given, picture = await ask(
            request,
            admission,
            runtime.settings.limits(),
            question,
            lambda upload: predictor.explain(
                upload.data,
                question,
                label=label,
                picture=kind == PNG,
                request_id=request.state.id,
                content_type=upload.content_type,
            ),
        )
        telemetry.answered(given)
        body = given.model_dump_json() if picture is None else picture
        return Response(body, media_type=kind, headers={"Vary": "Accept"})
