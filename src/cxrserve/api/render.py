"""`POST /v1/render`: a film for a person to look at, through a window of their choice."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from cxrserve.api import api_docs
from cxrserve.api.accept import chosen_type
from cxrserve.api.asking import ask
from cxrserve.api.uploads import Upload
from cxrserve.batching.admission import Admission
from cxrserve.batching.batcher import Asking
from cxrserve.errors import DeadlineExceeded, NotReady
from cxrserve.predictor import Question
from cxrserve.radiograph.film_values import FilmValues, Window, film_values
from cxrserve.radiograph.radiograph import ImageFormat
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.radiograph.sniff import sniff
from cxrserve.runtime import Runtime

PNG, VALUES = "image/png", "application/octet-stream"
DESCRIPTION = "Cxr-Film"
"""The response header that describes the values, as JSON."""

_GREY = Window(127.5, 255.0, "LINEAR_EXACT")
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the film in grey, or (Accept) its values, uint16 little-endian by rows, "
        f"0 for `low` and 65535 for `high` of the header `{DESCRIPTION}`",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in (PNG, VALUES)
        },
        "headers": {
            DESCRIPTION: {
                "description": "JSON: rows, columns, low, high, centre, window, function "
                "(LINEAR, LINEAR_EXACT, SIGMOID), inverted, width, height",
                "schema": {"type": "string"},
            }
        },
    },
    **{status: told for status, told in api_docs.PROBLEMS.items() if status != 404},
    406: api_docs.problem(406, "not_acceptable", "no media type of the Accept header is given"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How a film is to be shown."""

    kind: str
    side: int
    centre: float | None
    width: float | None


def mount(app: FastAPI, runtime: Runtime, admission: Admission) -> None:
    """Serve `/v1/render`. Nothing of the upload is kept, no network is asked."""

    @app.post(
        "/v1/render",
        response_class=Response,
        tags=["predict"],
        summary="Show a film through a window",
        openapi_extra=api_docs.PREDICT_BODY,
        responses=_RESPONSES,
    )
    async def render(
        request: Request,
        *,
        center: Annotated[
            float | None, Query(description="of the window; else the file's own")
        ] = None,
        width: Annotated[
            float | None, Query(ge=1, description="of the window; else the file's own")
        ] = None,
        side: Annotated[
            int, Query(ge=64, le=2048, description="most pixels of the longer side")
        ] = 1024,
    ) -> Response:
        kind = chosen_type(request.headers.get("accept"), (PNG, VALUES))
        look = _Look(kind=kind, side=side, centre=center, width=width)
        client = request.client.host if request.client else ""
        return await ask(
            request,
            admission,
            runtime.limits,
            Question(client=client),
            lambda upload: _rendered(runtime, upload, look, client),
        )


async def _rendered(runtime: Runtime, upload: Upload, look: _Look, client: str) -> Response:
    """Decoded when it is its turn among all that is decoded and computed."""
    predictor, seconds = runtime.predictor, runtime.settings.default_deadline_ms / 1e3
    if runtime.batcher is None:
        raise NotReady("the service is starting", advice="ask again in a few seconds")
    asking = Asking(
        deadline=predictor.clock() + seconds, priority=Question().priority, client=client
    )

    def work() -> Response:
        return _response(_values_of(upload, runtime, look.side), look)

    try:
        async with asyncio.timeout(seconds):
            return await runtime.batcher.decode(work, asking)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no picture within {seconds:g} s", advice="ask again") from error


def _values_of(upload: Upload, runtime: Runtime, side: int) -> FilmValues:
    limits = runtime.limits
    limits.check_upload(len(upload.data))
    if sniff(upload.data) is ImageFormat.DICOM:
        return runtime.dicom_reader.values(upload.data, limits, side)
    film = read_radiograph(upload.data, content_type=upload.content_type, limits=limits)
    return film_values(
        film.pixels.astype(np.float32),
        window=_GREY,
        inverted=False,
        size=(film.width, film.height),
        side=side,
    )


def _response(film: FilmValues, look: _Look) -> Response:
    headers = {
        DESCRIPTION: json.dumps(film.described()),
        "Vary": "Accept",
        "Cache-Control": "no-store",
    }
    if look.kind == VALUES:
        return Response(film.values.tobytes(), media_type=VALUES, headers=headers)
    written = io.BytesIO()
    film.shown(centre=look.centre, width=look.width).save(written, "PNG", compress_level=1)
    return Response(written.getvalue(), media_type=PNG, headers=headers)
