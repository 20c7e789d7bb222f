"""`POST /v1/predict/batch`: many images in; one JSON line for each, as soon as it is done."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cxrserve.answer import Answer
from cxrserve.api import api_docs, problems
from cxrserve.api.asking import reading_of
from cxrserve.api.envelope import unforeseen
from cxrserve.api.uploads import NamedUpload, read_uploads
from cxrserve.batching.admission import Admission
from cxrserve.errors import CxrError, Overloaded
from cxrserve.observability.record import current
from cxrserve.observability.telemetry import Telemetry
from cxrserve.predictor import Question
from cxrserve.radiograph.limits import MIB
from cxrserve.runtime import Runtime

MEDIA_TYPE = "application/x-ndjson"
MOST_IMAGES = 64
# Half of what uploads may take of the memory at once, so that a batch leaves room for others.
_MOST_BYTES = 128 * MIB

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            f"Up to {MOST_IMAGES} parts `image`, {_MOST_BYTES // MIB} MiB together. Each line of "
            "the answer has the `name` and the `index` (from 0) of its part."
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON lines, each with an `answer` (as of /v1/predict) or a `problem`",
        "content": {
            MEDIA_TYPE: {
                "example": '{"name": "film-1.png", "index": 0, "answer": {"id": "….0", …}}\n'
                '{"name": "film-2.png", "index": 1, "problem": {"status": 422, "code": …}}\n'
            }
        },
    },
    **{status: api_docs.PROBLEMS[status] for status in (400, 413, 429, 503)},
}


def mount(app: FastAPI, runtime: Runtime, admission: Admission, telemetry: Telemetry) -> None:
    """Serve `/v1/predict/batch`."""

    @app.post(
        "/v1/predict/batch",
        response_class=Response,
        tags=["predict"],
        summary="Read many chest radiographs",
        openapi_extra=_BODY,
        responses=_RESPONSES,
    )
    async def predict_batch(
        request: Request,
        *,
        question: Annotated[Question, Depends(reading_of)],
    ) -> Response:
        films = _Films(
            question=question,
            request_id=request.state.id,
            predict=runtime.predictor.predict,
            admission=admission,
            telemetry=telemetry,
        )
        most_bytes = max(_MOST_BYTES, runtime.settings.limits().upload_bytes)
        with contextlib.ExitStack() as inside:
            admitted = inside.enter_context(admission.enter(question.priority))
            uploads = await read_uploads(
                request, admitted, most_parts=MOST_IMAGES, most_bytes=most_bytes
            )
            return _LinesAsDone(films.lines(uploads), inside.pop_all())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Films:
    """The films of one request, each of which is let in, answered and refused by itself."""

    question: Question
    request_id: str
    predict: Callable[..., Awaitable[Answer]]
    admission: Admission
    telemetry: Telemetry

    async def lines(self, uploads: Sequence[NamedUpload]) -> AsyncGenerator[bytes, None]:
        """A line for each, in the order in which they are done; closed early, it stops the rest."""
        films = [
            asyncio.ensure_future(self._line(index, upload)) for index, upload in enumerate(uploads)
        ]
        try:
            for film in asyncio.as_completed(films):
                yield await film
        finally:
            for one in films:
                one.cancel()
            await asyncio.gather(*films, return_exceptions=True)

    async def _line(self, index: int, upload: NamedUpload) -> bytes:
        request_id = f"{self.request_id}.{index}"
        with self.telemetry.question(current().child(request_id)):
            outcome = await self._answer_or_problem(upload, request_id)
        # In ASCII no separator of lines can stand inside a name.
        named = f'"name": {json.dumps(upload.name)}, "index": {index}'
        return f"{{{named}, {outcome}}}\n".encode()

    async def _answer_or_problem(self, upload: NamedUpload, request_id: str) -> str:
        current().of_class(self.question.priority)
        try:
            with self.admission.enter(self.question.priority):
                answer = await self.predict(
                    upload.data,
                    self.question,
                    request_id=request_id,
                    content_type=upload.content_type,
                )
        except CxrError as error:
            return self._problem(error, request_id)
        except Exception as error:  # noqa: BLE001 - the others are still to be answered
            return self._problem(unforeseen(error, request_id), request_id)
        self.telemetry.answered(answer)
        return f'"answer": {answer.model_dump_json()}'

    def _problem(self, error: CxrError, request_id: str) -> str:
        self.telemetry.refused(error)
        document = problems.problem_of(error, request_id)
        if isinstance(error, Overloaded):
            # A line has no header to say it in.
            document["retry_after_s"] = round(error.retry_after_s, 3)
        return f'"problem": {json.dumps(document)}'


class _LinesAsDone(StreamingResponse):
    """Sends lines until the caller hangs up; then closes their source, and always `inside`.

    Starlette's own leaves a source open that it was sending from.
    """

    body_iterator: AsyncGenerator[bytes, None]

    def __init__(self, lines: AsyncGenerator[bytes, None], inside: contextlib.ExitStack) -> None:
        # Without the header nginx would keep the lines back until there are many.
        super().__init__(lines, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        self._inside = inside

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        with self._inside:
            sending = asyncio.ensure_future(self.stream_response(send))
            watching = asyncio.ensure_future(_hung_up(receive))
            try:
                await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    with contextlib.suppress(OSError):  # how some servers say that he hung up
                        sending.result()
            finally:
                for one in (sending, watching):
                    one.cancel()
                await asyncio.gather(sending, watching, return_exceptions=True)
                await self.body_iterator.aclose()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
