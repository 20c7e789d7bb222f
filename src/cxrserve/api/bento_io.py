"""The predictor as a BentoML API, so that BentoML's own clients work: uploads and errors."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bentoml
from fastapi import FastAPI
from starlette.requests import Request

from cxrserve.answer import Answer
from cxrserve.api.envelope import unforeseen
from cxrserve.api.problems import headers_of, problem_of, status_of
from cxrserve.api.uploads import read_upload
from cxrserve.errors import CxrError
from cxrserve.observability.record import begin
from cxrserve.observability.telemetry import Telemetry
from cxrserve.predictor import Question

ResponseContext = Any  # bentoml.Context.response, which carries no types


class ImageInput(bentoml.IODescriptor):
    """Takes the image as BentoML's clients send it, without BentoML's way of reading it.

    BentoML would write the upload to a temporary file, and fetch a URL given in its place.
    """

    image: Path

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> ImageInput:
        """Keep the request; `answer` reads its body within the service's limits."""
        return cls.model_construct(image=request)


async def answer(app: FastAPI, request: Request, response: ResponseContext) -> dict[str, Any]:
    """Answer one image with the default models; a refusal is a problem document.

    BentoML would log an exception with its text, which may hold patient data, so none is raised.
    """
    request_id = str(uuid.uuid4())
    telemetry: Telemetry = app.state.telemetry
    with telemetry.question(begin("bentoml", request_id)):
        return await _answer(app, request, response, request_id)


async def _answer(
    app: FastAPI, request: Request, response: ResponseContext, request_id: str
) -> dict[str, Any]:
    runtime, telemetry = app.state.runtime, app.state.telemetry
    try:
        with app.state.admission.enter() as admitted:
            upload = await read_upload(request, runtime.settings.limits(), admitted)
            given: Answer = await runtime.predictor.predict(
                upload.data, Question(), request_id=request_id, content_type=upload.content_type
            )
    except Exception as error:  # noqa: BLE001 - the last line of defence
        known = error if isinstance(error, CxrError) else unforeseen(error, request_id)
        telemetry.refused(known)
        return _refusal(known, request_id, response)
    telemetry.answered(given)
    return given.model_dump(mode="json")


def _refusal(error: CxrError, request_id: str, response: ResponseContext) -> dict[str, Any]:
    response.status_code = status_of(error)
    response.headers.update(headers_of(error))
    return problem_of(error, request_id)
