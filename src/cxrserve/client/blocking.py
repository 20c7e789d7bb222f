"""The client that waits. Its rules are those of the other: this is how it sends and sleeps."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
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

Pause = Callable[[threading.Event, float], bool]
_NEVER = threading.Event()


class Client:
    """Asks a service about radiographs. May be used from several threads; to be closed.

    Every method raises `CxrError`: what the service said (`cxrserve.errors`), or why it said
    nothing (`cxrserve.client.errors`).

    Args:
        url: where the service is.
        timeout_s: for sending, and for an answer, where no `deadline_ms` is given.
        retries: when requests are sent again.
        headers: sent with every request, e.g. what a gateway wants to see.
        check_ids: an answer must carry the id of its request.
        transport: instead of httpx's own, e.g. `httpx.HTTPTransport(verify=…, cert=…)`.
        clock: seconds, monotonic.
        pause: lets seconds pass, or fewer if the event is set, and tells whether it is.
        chance: random numbers in 0..1.
    """

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        timeout_s: float = 60.0,
        retries: Retries = PATIENT,
        headers: dict[str, str] | None = None,
        check_ids: bool = True,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = threading.Event.wait,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._url = checked_url(url)
        self._http = httpx.Client(**http_options(self._url, headers), transport=transport)
        self._pause = pause
        self._patience = Patience(
            retries=retries, timeout_s=timeout_s, check_ids=check_ids, clock=clock, chance=chance
        )

    def predict(
        self, source: Source, *, request_id: str | None = None, **options: Unpack[PredictOptions]
    ) -> Answer:
        """The findings of one image.

        Args:
            source: its bytes, a path, or an open binary file.
            request_id: comes back as the answer's `id`; made up if not given.
            options: see `PredictOptions`.
        """
        return self._do(calls.predict_call(bytes_of(source), options, request_id=request_id))

    def predict_many(
        self,
        files: Iterable[File],
        *,
        concurrency: int = 4,
        progress: Progress | None = None,
        **options: Unpack[PredictOptions],
    ) -> Generator[Outcome]:
        """The outcome of each file as soon as it is done, in any order; errors are outcomes too.

        Files are taken and read as they are sent; closing the generator ends what has not begun.

        Args:
            files: sources, or pairs of a name and a source.
            concurrency: how many are sent at once.
            progress: called before each outcome, in the caller's thread.
            options: of each; `deadline_ms` counts for each file by itself.
        """
        tally, waiting = Tally(files, progress), named_sources(files)
        stopped = threading.Event()

        def one(file: NamedSource) -> Outcome:
            try:
                call = calls.predict_call(bytes_of(file.source), options)
                return answered(file, self._do(call, stopped))
            except CxrError as error:
                return failed(file, error)

        with ThreadPoolExecutor(concurrency) as threads:
            try:
                asked = {threads.submit(one, file) for file in islice(waiting, concurrency)}
                while asked:
                    done, asked = wait(asked, return_when=FIRST_COMPLETED)
                    asked |= {threads.submit(one, file) for file in islice(waiting, len(done))}
                    for outcome in done:
                        tally.one_more()
                        yield outcome.result()
            finally:
                stopped.set()

    def explain(
        self,
        source: Source,
        label: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> Explanation:
        """Where one finding comes from, in figures; `model`: else the first default that has it."""
        image = bytes_of(source)
        return self._do(
            calls.explain_call(image, label, options, model=model, request_id=request_id)
        )

    def explain_picture(
        self,
        source: Source,
        label: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> bytes:
        """Where one finding comes from, as a PNG."""
        image = bytes_of(source)
        return self._do(
            calls.explain_picture_call(image, label, options, model=model, request_id=request_id)
        )

    def models(self) -> ModelList:
        """What is loaded."""
        return self._do(calls.models_call())

    def model(self, name: str, version: str | None = None) -> ModelDetail:
        """All that is known about one model."""
        return self._do(calls.model_call(name, version))

    def ready(self) -> bool:
        """Whether the service can be asked now; asked once."""
        return read_ready(self._send(READY_REQUEST))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _do(self, call: Call[Given], stopped: threading.Event = _NEVER) -> Given:
        attempts = Attempts(call, self._patience)
        while True:
            came = self._send(attempts.request())
            pause_s = attempts.pause_after(came)
            if pause_s is None:
                return attempts.result(came)
            if self._pause(stopped, pause_s):
                raise CancelledError

    def _send(self, request: dict[str, Any]) -> Reply | Lost:
        try:
            return reply_of(self._http.request(**request))
        except httpx.HTTPError as error:
            return lost_of(error)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({origin(self._url)!r})"
