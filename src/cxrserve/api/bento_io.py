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
    runtime, metrics = app.state.runtime, app.state.metrics
    try:
        with app.state.admission.enter() as admitted:
            upload = await read_upload(request, runtime.settings.limits(), admitted)
            given: Answer = await runtime.predictor.predict(
                upload.data, Question(), request_id=request_id, content_type=upload.content_type
            )
    except CxrError as error:
        metrics.refused(error)
        return _refusal(error, request_id, response)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _refusal(unforeseen(error, request_id), request_id, response)
    metrics.answered(given)
    return given.model_dump(mode="json")


def _refusal(error: CxrError, request_id: str, response: ResponseContext) -> dict[str, Any]:
    response.status_code = status_of(error)
    response.headers.update(headers_of(error))
    return problem_of(error, request_id)
