"""The BentoML service: wiring only. `cxrserve serve` or `bentoml serve` runs it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

# Nothing leaves the hospital; this must be set before BentoML looks.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
# One worker counts in memory; BentoML's multi-process mode would write a file a metric.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import bentoml

from cxrserve.api import bento_io
from cxrserve.api.grpc.server import GrpcServer
from cxrserve.api.rest import create_app
from cxrserve.departure import Departure, listening_socket
from cxrserve.observability.logs import configure_logging
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings

settings = Settings()
runtime = Runtime(settings)
app = create_app(runtime)


# One worker: several would split the queue. BentoML's own timeout stands behind our deadlines.
# Its metrics and access log quote raw paths, which may hold names: ours quote route templates.
@bentoml.service(
    name="cxrserve",
    workers=1,
    traffic={"timeout": 630},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # Its tracer makes a span of every piece of an upload, and quotes the path; none is exported.
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app)
class CxrServe:
    """Chest radiographs in, findings out. Research use only."""

    @bentoml.on_startup
    async def start(self) -> None:
        configure_logging(settings.log_level, settings.log_format)
        self._grpc = GrpcServer(runtime, app.state.plane, app.state.admission, app.state.telemetry)
        await self._grpc.start()
        departure = Departure(
            delay_s=settings.shutdown_delay_s, say_so=self._leave, listener=listening_socket()
        )
        departure.install()
        # In the background, so that /livez answers while /readyz still says no.
        self._starting = asyncio.create_task(self._become_ready())

    async def _become_ready(self) -> None:
        await runtime.start()
        await self._grpc.ready()

    async def _leave(self) -> None:
        runtime.leave()
        await self._grpc.leave()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        self._starting.cancel()
        await self._grpc.stop(settings.shutdown_grace_s)
        await runtime.stop()
        await asyncio.to_thread(app.state.telemetry.close)

    async def __is_ready__(self) -> bool:
        return runtime.is_ready

    @bentoml.api(input_spec=bento_io.ImageInput, route="/predict")
    async def predict(self, image: Any, ctx: bentoml.Context) -> dict[str, Any]:
        """Read one chest radiograph with the default models."""
        return await bento_io.answer(app, image, ctx.response)
