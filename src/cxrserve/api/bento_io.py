"""The predictor as a BentoML API, so that BentoML's own clients work: uploads and errors."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException
from starlette.requests import Request

from cxrserve.answer import Answer
from cxrserve.api.problems import status_of
from cxrserve.api.uploads import read_upload
from cxrserve.batching.admission import Admission
from cxrserve.errors import CxrError
from cxrserve.predictor import Question
from cxrserve.runtime import Runtime


class ImageInput(bentoml.IODescriptor):
    """Takes the image as BentoML's clients send it, without BentoML's way of reading it.

    BentoML would write the upload to a temporary file, and fetch a URL given in its place.
    """

    image: Path

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> ImageInput:
        """Keep the request; `answer` reads its body within the service's limits."""
        return cls.model_construct(image=request)


async def answer(runtime: Runtime, admission: Admission, request: Request) -> dict[str, Any]:
    """Answer one image with the default models.

    Raises:
        BentoMLException: with the status that the REST API gives.
    """
    try:
        with admission.enter() as admitted:
            upload = await read_upload(request, runtime.settings.limits(), admitted)
            given: Answer = await runtime.predictor.predict(
                upload.data,
                Question(),
                request_id=str(uuid.uuid4()),
                content_type=upload.content_type,
            )
    except CxrError as error:
        status = HTTPStatus(status_of(error))
        raise BentoMLException(f"{error.code}: {error.detail}", error_code=status) from None
    return given.model_dump(mode="json")
