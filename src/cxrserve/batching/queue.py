"""One queue in front of one pool of workers: who runs next, who is refused, who is not computed.

This is the seam for the adaptive batcher: it replaces `InferenceQueue` and keeps `submit`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Engine, Masks, Outputs
from cxrserve.errors import DeadlineExceeded, EngineFailure, NotReady, Overloaded

Clock = Callable[[], float]


class Priority(IntEnum):
    """Classes of urgency; a lower number goes first."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2


@dataclass(frozen=True, slots=True)
class Inference:
    """What came out, and the time it took in milliseconds."""

    outputs: Outputs | Masks
    queue_ms: float
    inference_ms: float


@dataclass(order=True, slots=True)
class _Job:
    priority: int
    number: int
    engine: Engine = field(compare=False)
    pixels: NDArray[np.uint8] = field(compare=False)
    arrived: float = field(compare=False)
    deadline: float = field(compare=False)
    answer: asyncio.Future[Inference] = field(compare=False)


class InferenceQueue:
    """Runs images one by one on `workers` threads, the most urgent first.

    A job whose caller has gone, or whose deadline has passed, is not computed. The answer to a job
    goes to the future that came with it, so it cannot reach another request.

    Args:
        workers: jobs that run at once.
        size: jobs that may wait; one more is refused.
        clock: seconds, monotonic.
    """

    def __init__(self, *, workers: int, size: int, clock: Clock) -> None:
        self._size, self._clock = size, clock
        self._waiting: list[_Job] = []
        self._numbers = itertools.count()
        self._arrival = asyncio.Condition()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="inference")
        self._workers = [asyncio.create_task(self._work()) for _ in range(workers)]
        self._closing = False
        # Exponentially weighted; 50 ms until the first job has been seen.
        self._typical_s = 0.05

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    async def submit(
        self,
        engine: Engine,
        pixels: NDArray[np.uint8],
        *,
        priority: Priority,
        deadline: float,
    ) -> Inference:
        """Run one image.

        Args:
            engine: runs it.
            pixels: uint8 `[1, side, side]`.
            priority: who goes first.
            deadline: on the queue's clock, in seconds.

        Raises:
            Overloaded: the queue is full.
            DeadlineExceeded: it could not be started in time.
            EngineFailure: the network failed.
            NotReady: the service is draining.
        """
        if self._closing:
            raise NotReady("the service is shutting down", advice="send it to another replica")
        if len(self._waiting) >= self._size:
            wait_s = self._typical_s * len(self._waiting) / len(self._workers)
            raise Overloaded(
                f"{self._size} requests are waiting already",
                advice=f"come back in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )
        answer: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        now = self._clock()
        job = _Job(priority, next(self._numbers), engine, pixels, now, deadline, answer)
        async with self._arrival:
            heapq.heappush(self._waiting, job)
            self._arrival.notify()
        return await answer

    async def close(self) -> None:
        """Accept nothing more, finish what was accepted, end the threads."""
        self._closing = True
        async with self._arrival:
            self._arrival.notify_all()
        await asyncio.gather(*self._workers)
        self._threads.shutdown()

    async def _work(self) -> None:
        while (job := await self._next()) is not None:
            if job.answer.done():
                continue
            started = self._clock()
            if started > job.deadline:
                job.answer.set_exception(_too_late(started - job.arrived))
                continue
            await self._run(job, started)

    async def _run(self, job: _Job, started: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._threads, job.engine.run, job.pixels[None])
        except EngineFailure as error:
            _fail(job, error)
            return
        except Exception as error:  # noqa: BLE001 - the worker must outlive any one job
            failure = EngineFailure("the engine failed on this image")
            failure.__cause__ = error
            _fail(job, failure)
            return
        ended = self._clock()
        self._typical_s += 0.1 * (ended - started - self._typical_s)
        if not job.answer.done():
            timing = ((started - job.arrived) * 1e3, (ended - started) * 1e3)
            job.answer.set_result(Inference(outputs, *timing))

    async def _next(self) -> _Job | None:
        async with self._arrival:
            while not self._waiting:
                if self._closing:
                    return None
                await self._arrival.wait()
            return heapq.heappop(self._waiting)


def _fail(job: _Job, error: EngineFailure) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)


def _too_late(waited_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the deadline passed after {waited_s * 1e3:.0f} ms in the queue",
        advice="ask with a later deadline_ms, or when fewer requests wait",
    )
