"""What runs batches and decodes images: the processors of this machine, or one GPU."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import OVERLAP, Slots

Clock = Callable[[], float]
Given = TypeVar("Given")

_SMOOTHING = 0.05
_NETWORK, _HOST = 0, 1


@dataclass(frozen=True, slots=True)
class Work:
    """Something to run, how long it should take, and whom to tell on the loop.

    `width`: how many of the device's threads it keeps busy.
    """

    run: Callable[[], Any]
    expected_s: float
    done: Callable[[Any, BaseException | None, float], None]
    width: int = 1


class Source(Protocol):
    """A queue of batches that runs on the device."""

    @property
    def width(self) -> int:
        """How many of the device's threads one of its batches keeps busy."""

    def urgency(self, now: float) -> tuple[Priority, float] | None:
        """Class and deadline of the first that waits; None where nobody does."""

    def next_work(self, slots: Slots, now: float) -> Work | None:
        """The batch to run now, if it is better than to wait."""

    def wake_at(self) -> float | None:
        """When to ask again although nothing has changed."""


@dataclass(slots=True)
class _Job:
    run: Callable[[], Any]
    answer: asyncio.Future[Any]


class Device:
    """Threads that networks and decoding share, the most urgent work first.

    Networks and decoding take turns on the same threads, because they are the same processors:
    more threads than cores would only slow what is nearly done. Of equally urgent work the batch
    goes first, for its images are decoded and wait for their answer. Used from one event loop.

    Args:
        threads: what runs at once: the cores of a CPU, the batches in flight of a GPU.
        independent: threads do not slow each other.
        clock: seconds, monotonic.
    """

    def __init__(self, *, threads: int, independent: bool, clock: Clock, name: str) -> None:
        self.threads, self.independent = threads, independent
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._loop = asyncio.get_running_loop()
        self._sources: list[Source] = []
        # Decoding waits by the rules of the networks: clients in turn, and nobody starves.
        self._line = Line()
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count()
        self._running: dict[int, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._last_end = -math.inf
        self.host_s = 0.01
        """What a piece of host work (decoding) takes: an exponentially weighted mean."""

    def attach(self, source: Source) -> None:
        """Let a queue run here."""
        self._sources.append(source)

    def detach(self, source: Source) -> None:
        """Let a queue, in which nobody waits, run here no more."""
        self._sources.remove(source)

    def slots(self) -> Slots:
        """What is free now, and until when the rest is busy."""
        return Slots(
            free=self._free(),
            busy_until=tuple(
                until for until, width in self._running.values() for _ in range(width)
            ),
            independent=self.independent,
        )

    async def run(
        self,
        work: Callable[[], Given],
        *,
        priority: Priority,
        deadline: float,
        client: str = "",
    ) -> Given:
        """Run host work on a thread, when it is its turn."""
        number = next(self._numbers)
        answer: asyncio.Future[Given] = self._loop.create_future()
        self._jobs[number] = _Job(work, answer)
        self._line.add(
            Waiting(
                number=number,
                arrived=self._clock(),
                deadline=deadline,
                priority=priority,
                client=client,
            )
        )
        self.dispatch()
        try:
            return await answer
        finally:
            if number in self._line:  # its caller has gone
                self._line.remove(number)
                del self._jobs[number]

    def dispatch(self) -> None:
        """Start what can start; called whenever something came, went or ended."""
        now = self._clock()
        while self._free() and (work := self._next(now)) is not None:
            self._start(work, now)
        for source in self._sources:
            at = source.wake_at()
            if at is not None and at <= now:
                # With no slot to give, it only tells those who have become late.
                source.next_work(replace(self.slots(), free=0), now)
        self._plan_to_wake(now)

    def close(self) -> None:
        """End the threads; nothing may be running or waiting."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown()

    def _next(self, now: float) -> Work | None:
        waiting: list[tuple[Priority, int, float, int]] = []
        for place, source in enumerate(self._sources):
            urgency = source.urgency(now)
            if urgency is not None:
                waiting.append((urgency[0], _NETWORK, urgency[1], place))
        job = self._line.first(now)
        if job is not None:
            waiting.append((job[0], _HOST, job[1].deadline, job[1].number))
        for _, kind, _, place in sorted(waiting):
            if kind == _HOST:
                self._line.take((place,))
                return self._host_work(self._jobs.pop(place))
            source = self._sources[place]
            if source.width > self._free():
                return None  # what is less urgent must not keep taking the threads it needs
            work = source.next_work(self.slots(), now)
            if work is not None:
                return work
        return None

    def _free(self) -> int:
        return self.threads - sum(width for _, width in self._running.values())

    def _host_work(self, job: _Job) -> Work:
        def done(given: Any, error: BaseException | None, took_s: float) -> None:
            self.host_s += _SMOOTHING * (took_s - self.host_s)
            if job.answer.done():
                return
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(given)

        return Work(job.run, self.host_s, done)

    def _start(self, work: Work, now: float) -> None:
        number = next(self._numbers)
        self._running[number] = (self._ends(work, now), work.width)

        def ended(given: Any, error: BaseException | None, took_s: float) -> None:
            del self._running[number]
            if not self.independent:
                # It did not run while the one before it still did.
                at = self._clock()
                took_s, self._last_end = min(took_s, at - self._last_end), at
            work.done(given, error, took_s)
            self.dispatch()

        def on_thread() -> None:
            given, error = None, None
            began = self._clock()
            try:
                given = work.run()
            except BaseException as failure:  # noqa: BLE001 - it is told to who waits for it
                error = failure
            self._loop.call_soon_threadsafe(ended, given, error, self._clock() - began)

        self._pool.submit(on_thread)

    def _ends(self, work: Work, now: float) -> float:
        """When work that starts now should end; on a shared device, after what runs already."""
        alone = now + work.expected_s
        if self.independent or not self._running:
            return alone
        before = max(until for until, _ in self._running.values())
        return max(alone, before + (1 - OVERLAP) * work.expected_s)

    def _plan_to_wake(self, now: float) -> None:
        times = [at for source in self._sources if (at := source.wake_at()) is not None]
        if not times:
            return
        at = min(times)
        # Most that wait are served before they must be looked at again: a timer that comes too
        # early finds nothing to do, which costs less than a new one for every request.
        if self._timer is not None:
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._loop.call_later(max(0.0, at - now), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.dispatch()
