"""Serves the page below `/ui/`."""

from __future__ import annotations

import asyncio
import functools
import re

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from cxrserve.page.about import about, written
from cxrserve.page.files import PageFile, page_files
from cxrserve.page.headers import FOR_EVER, HEADERS, REVALIDATED
from cxrserve.page.local_models import LocalModel, local_models
from cxrserve.runtime import Runtime

_ETAG = re.compile(r'"([^"]*)"')


def mount(app: FastAPI, runtime: Runtime) -> None:
    """Serve `/ui/`: files that lie in the package, and graphs for the user's own device."""

    @functools.cache
    def files() -> dict[str, PageFile]:
        return page_files()

    @functools.cache
    def models() -> dict[str, LocalModel]:
        return local_models(runtime.settings.models_dir)

    @app.get("/ui", include_in_schema=False)
    async def without_slash() -> Response:
        return RedirectResponse("ui/", status_code=308)

    @app.get("/ui/about.json", include_in_schema=False)
    async def about_here() -> Response:
        told = await asyncio.to_thread(
            lambda: about(
                service="..",
                default_models=runtime.settings.default_models,
                files=files(),
                models=models().values(),
            )
        )
        headers = {**HEADERS, "Cache-Control": REVALIDATED}
        return Response(written(told), media_type="application/json", headers=headers)

    @app.get("/ui/models/{name}/{graph}", include_in_schema=False)
    async def graph_of(name: str, graph: str) -> Response:
        model = (await asyncio.to_thread(models)).get(f"models/{name}/{graph}")
        if model is None:
            raise HTTPException(404, "no such network for this device")
        data = await asyncio.to_thread(model.package.graph_bytes, model.graph)
        headers = {**HEADERS, "Cache-Control": FOR_EVER}
        return Response(data, media_type="application/octet-stream", headers=headers)

    @app.get("/ui/{name:path}", include_in_schema=False)
    async def one_file(name: str, request: Request) -> Response:
        file = (await asyncio.to_thread(files)).get(name or "index.html")
        if file is None:
            raise HTTPException(404, "the page has no such file")
        headers = {**HEADERS, "Cache-Control": REVALIDATED, "ETag": f'"{file.sha256}"'}
        if file.sha256 in _ETAG.findall(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(file.data, media_type=file.media_type, headers=headers)
