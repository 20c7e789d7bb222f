"""The client for asyncio. Its rules are those of the other: this is how it sends and sleeps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Unpack

import httpx

from cxrserve.answer import Answer, Explanation
from cxrserve.client import calls
from cxrserve.client.address import READY_REQUEST, checked_url, http_options, origin
from cxrserve.client.calls import Call, Given, Options, PredictOptions
from cxrserve.client.many import Outcome, Progress, Tally, answered, failed
from cxrserve.client.replies import Lost, Reply, lost_of, read_ready, reply_of
from cxrserve.client.retries import PATIENT, Attempts, Patience, Retries
from cxrserve.client.sources import File, NamedSource, Source, bytes_of, named_sources
from cxrserve.errors import CxrError
from cxrserve.model_listing import ModelDetail, ModelList

Pause = Callable[[float], Awaitable[object]]


class AsyncClient:
    """`Client` for asyncio: the same methods, arguments and errors. Files are read in threads."""

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        timeout_s: float = 60.0,
        retries: Retries = PATIENT,
        headers: dict[str, str] | None = None,
        check_ids: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._url = checked_url(url)
        self._http = httpx.AsyncClient(**http_options(self._url, headers), transport=transport)
        self._pause = pause
        self._patience = Patience(
            retries=retries, timeout_s=timeout_s, check_ids=check_ids, clock=clock, chance=chance
        )

    async def predict(
        self, source: Source, *, request_id: str | None = None, **options: Unpack[PredictOptions]
    ) -> Answer:
        """The findings of one image; see `Client.predict`."""
        image = await asyncio.to_thread(bytes_of, source)
        return await self._do(calls.predict_call(image, options, request_id=request_id))

    async def predict_many(
        self,
        files: Iterable[File],
        *,
        concurrency: int = 4,
        progress: Progress | None = None,
        **options: Unpack[PredictOptions],
    ) -> AsyncGenerator[Outcome]:
        """The outcome of each file as soon as it is done; see `Client.predict_many`.

        Closing the generator (`contextlib.aclosing`) ends what is on its way, too.
        """
        tally, waiting = Tally(files, progress), named_sources(files)

        async def one(file: NamedSource) -> Outcome:
            try:
                image = await asyncio.to_thread(bytes_of, file.source)
                return answered(file, await self._do(calls.predict_call(image, options)))
            except CxrError as error:
                return failed(file, error)

        asked: set[asyncio.Task[Outcome]] = set()
        try:
            asked |= {asyncio.create_task(one(file)) for file in islice(waiting, concurrency)}
            while asked:
                done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                asked |= {asyncio.create_task(one(file)) for file in islice(waiting, len(done))}
                for outcome in done:
                    tally.one_more()
                    yield outcome.result()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def explain(
        self,
        source: Source,
        label: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> Explanation:
        """Where one finding comes from, in figures; see `Client.explain`."""
        image = await asyncio.to_thread(bytes_of, source)
        return await self._do(
            calls.explain_call(image, label, options, model=model, request_id=request_id)
        )

    async def explain_picture(
        self,
        source: Source,
        label: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> bytes:
        """Where one finding comes from, as a PNG."""
        image = await asyncio.to_thread(bytes_of, source)
        return await self._do(
            calls.explain_picture_call(image, label, options, model=model, request_id=request_id)
        )

    async def models(self) -> ModelList:
        """What is loaded."""
        return await self._do(calls.models_call())

    async def model(self, name: str, version: str | None = None) -> ModelDetail:
        """All that is known about one model."""
        return await self._do(calls.model_call(name, version))

    async def ready(self) -> bool:
        """Whether the service can be asked now; asked once."""
        return read_ready(await self._send(READY_REQUEST))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _do(self, call: Call[Given]) -> Given:
        attempts = Attempts(call, self._patience)
        while True:
            came = await self._send(attempts.request())
            pause_s = attempts.pause_after(came)
            if pause_s is None:
                return attempts.result(came)
            await self._pause(pause_s)

    async def _send(self, request: dict[str, Any]) -> Reply | Lost:
        try:
            return reply_of(await self._http.request(**request))
        except httpx.HTTPError as error:
            return lost_of(error)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({origin(self._url)!r})"
