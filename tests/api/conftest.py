"""The REST application over tiny packages, in this process."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cxrserve.api.rest import create_app
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings

Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Starts the service on the packages in `tmp_path / "models"`, without the gate."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        chosen = {"gate": "off", "dicom_processes": 1, **settings}
        runtime = Runtime(Settings(models_dir=tmp_path / "models", **chosen))
        await runtime.start()
        try:
            transport = httpx.ASGITransport(create_app(runtime))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client
        finally:
            await runtime.stop()

    return start


def png(pixels: np.ndarray) -> bytes:
    """A grey PNG of uint8 `[h, w]`."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
