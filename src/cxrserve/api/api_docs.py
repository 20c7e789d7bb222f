"""OpenAPI examples, and `/docs` from files on this machine: nothing is fetched from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from cxrserve.api.problems import MEDIA_TYPE

# BentoML ships Swagger UI; a second copy of it would only go stale.
_SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
_ASSETS = "/docs-assets"
_NO_ICON = "data:,"

_BINARY = {"schema": {"type": "string", "format": "binary"}}

PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "One image, as the raw body or as the multipart part `image`. What it is decides, "
            "not what it is called. Make one to try with `cxrserve phantom out.png`."
        ),
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "application/dicom": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """How OpenAPI shows one problem document."""
    example = {
        "type": f"urn:cxrserve:problem:{code}",
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return {"description": detail, "content": {MEDIA_TYPE: {"example": example}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: problem(400, "empty_upload", "the request has no body"),
    404: problem(404, "model_not_found", "no model 'x' is loaded"),
    413: problem(413, "too_large", "the upload has more than 67108864 bytes"),
    415: problem(415, "unsupported_media_type", "the upload is a PDF document"),
    422: problem(
        422,
        "not_readable_as_chest",
        "the pixels do not look like a frontal chest radiograph",
        reasons=["not_a_chest"],
        advice="send a frontal chest radiograph, or ask with force=true",
    ),
    429: problem(429, "overloaded", "256 requests are waiting already"),
    503: problem(503, "not_ready", "the service is starting"),
    504: problem(504, "deadline_exceeded", "no answer within 500 ms"),
}


def mount(app: FastAPI) -> None:
    """Serve `/docs`, and an OpenAPI document that promises no other errors than ours."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        for path in document["paths"].values():
            for operation in path.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    # FastAPI's own; a wrong option gets our 400.
                    del operation["responses"]["422"]
                    operation["responses"]["400"] = PROBLEMS[400]
        for schema in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(schema, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    app.mount(_ASSETS, StaticFiles(directory=_SWAGGER), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=f"{app.title} API",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=_NO_ICON,
        )
