"""What runs batches and decodes images: the processors of this machine, or one GPU."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
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

    `undo` lets those whom it is for wait again, as if it had never been made. `start_by`: begun
    later, somebody would be answered too late. `width`: how many of the device's threads it keeps
    busy.
    """

    run: Callable[[], Any]
    expected_s: float
    done: Callable[[Any, BaseException | None, float], None]
    undo: Callable[[], None]
    start_by: float = math.inf
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

    def work_ahead(self, slots: Slots, now: float) -> Work | None:
        """The batch for the slot that is free next, if nobody who comes meanwhile betters it."""

    def wake_at(self) -> float | None:
        """When to ask again although nothing has changed."""


@dataclass(slots=True)
class _Job:
    run: Callable[[], Any]
    answer: asyncio.Future[Any]


class _StandBy:
    """Work that threads which become free take by themselves, without asking the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offered: list[tuple[Priority, Work]] = []

    def __len__(self) -> int:
        return len(self._offered)

    def __iter__(self) -> Iterator[tuple[Priority, Work]]:
        """What is offered at this moment, the first to be taken first."""
        return iter(tuple(self._offered))

    def offer(self, priority: Priority, work: Work) -> None:
        """Let any thread take it, after what is offered already."""
        with self._lock:
            self._offered.append((priority, work))

    def take(self, most_width: int) -> Work | None:
        """The first that is offered, the taker's alone from now on, if it is not wider."""
        with self._lock:
            if not self._offered or self._offered[0][1].width > most_width:
                return None
            return self._offered.pop(0)[1]

    def withdraw(self) -> list[Work]:
        """All that is offered; nobody can take it any more."""
        with self._lock:
            offered, self._offered = self._offered, []
        return [work for _, work in offered]


class Device:
    """Threads that networks and decoding share, the most urgent work first.

    Networks and decoding take turns on the same threads, because they are the same processors:
    more threads than cores would only slow what is nearly done. Of equally urgent work the batch
    goes first, for its images are decoded and wait for their answer. Used from one event loop.

    While independent threads are all busy, as much work as there are threads stands by for those
    that end first, so that no processor idles until the loop has heard of it. It is taken back
    when somebody more urgent comes.

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
        self._stand_by = _StandBy()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._last_end = -math.inf
        self.host_s = 0.01
        """What a piece of host work (decoding) takes: an exponentially weighted mean."""
        self.busy_s = 0.0
        """Seconds that its threads have worked, together."""

    def attach(self, source: Source) -> None:
        """Let a queue run here."""
        self._sources.append(source)

    def detach(self, source: Source) -> None:
        """Let a queue, in which nobody waits, run here no more."""
        self._sources.remove(source)

    def slots(self) -> Slots:
        """What is free now, and until when the rest is busy."""
        busy = [until for until, width in self._running.values() for _ in range(width)]
        for _, work in self._stand_by:
            busy.sort()
            for place in range(min(work.width, len(busy))):
                busy[place] += work.expected_s
        return Slots(free=self._free(), busy_until=tuple(busy), independent=self.independent)

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
            if answer.cancelled():  # its caller has gone
                self.recall()
                if number in self._line:
                    self._line.remove(number)
                    del self._jobs[number]
                self.dispatch()

    def stands_by(self, work: Work) -> bool:
        """Whether this work waits for a thread that becomes free."""
        return any(one is work for _, one in self._stand_by)

    def recall(self) -> None:
        """Let what stands by wait again, where it is not running yet; `dispatch` must follow."""
        for work in reversed(self._stand_by.withdraw()):
            work.undo()

    def dispatch(self) -> None:
        """Start what can start; called whenever something came, went or ended."""
        now = self._clock()
        if self._free() or self._stand_by_ends() <= now:
            self.recall()
        while self._free() and (found := self._next(self._waiting(now), now)) is not None:
            self._start(found[1], now)
        if self.independent and not self._free():
            self._let_stand_by(now)
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

    def _let_stand_by(self, now: float) -> None:
        waiting = self._waiting(now)
        if waiting and any(priority > waiting[0][0] for priority, _ in self._stand_by):
            self.recall()
            waiting = self._waiting(now)
        while len(self._stand_by) < self.threads and waiting:
            found = self._next(waiting, now, ahead=True)
            if found is None:
                return
            self._stand_by.offer(*found)
            waiting = self._waiting(now)

    def _stand_by_ends(self) -> float:
        return min((work.start_by for _, work in self._stand_by), default=math.inf)

    def _waiting(self, now: float) -> list[tuple[Priority, int, float, int]]:
        """What waits, the most urgent first: class, kind, deadline, and source or job."""
        waiting: list[tuple[Priority, int, float, int]] = []
        for place, source in enumerate(self._sources):
            urgency = source.urgency(now)
            if urgency is not None:
                waiting.append((urgency[0], _NETWORK, urgency[1], place))
        job = self._line.first(now)
        if job is not None:
            waiting.append((job[0], _HOST, job[1].deadline, job[1].number))
        return sorted(waiting)

    def _next(
        self, waiting: list[tuple[Priority, int, float, int]], now: float, *, ahead: bool = False
    ) -> tuple[Priority, Work] | None:
        for priority, kind, _, place in waiting:
            if kind == _HOST:
                (job,) = self._line.take((place,))
                return priority, self._host_work(job)
            source = self._sources[place]
            if ahead:
                work = source.work_ahead(self.slots(), now)
                return None if work is None else (priority, work)
            if source.width > self._free():
                return None  # what is less urgent must not keep taking the threads it needs
            work = source.next_work(self.slots(), now)
            if work is not None:
                return priority, work
        return None

    @property
    def busy(self) -> int:
        """Threads that are at work now."""
        return self.threads - self._free()

    def _free(self) -> int:
        return self.threads - sum(width for _, width in self._running.values())

    def _host_work(self, waited: Waiting) -> Work:
        job = self._jobs.pop(waited.number)

        def undo() -> None:
            self._jobs[waited.number] = job
            self._line.put_back(waited)

        def done(given: Any, error: BaseException | None, took_s: float) -> None:
            self.host_s += _SMOOTHING * (took_s - self.host_s)
            if job.answer.done():
                return
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(given)

        return Work(job.run, self.host_s, done, undo)

    def _start(self, work: Work, now: float) -> None:
        number = next(self._numbers)
        self._running[number] = (self._ends(work, now), work.width)
        self._pool.submit(self._on_thread, work, number)

    def _on_thread(self, work: Work, number: int) -> None:
        """Run work, and after it what stands by, until nothing does."""
        while True:
            given, error = None, None
            began = self._clock()
            try:
                given = work.run()
            except BaseException as failure:  # noqa: BLE001 - it is told to who waits for it
                error = failure
            took_s = self._clock() - began
            following = self._stand_by.take(work.width)
            after = next(self._numbers)
            tell = partial(work.done, given, error)
            self._loop.call_soon_threadsafe(self._ended, number, tell, took_s, following, after)
            if following is None:
                return
            work, number = following, after

    def _ended(
        self,
        number: int,
        tell: Callable[[float], None],
        took_s: float,
        following: Work | None,
        after: int,
    ) -> None:
        _, width = self._running.pop(number)
        self.busy_s += width * took_s
        now = self._clock()
        if following is not None:
            self._running[after] = (self._ends(following, now), following.width)
        if not self.independent:
            # It did not run while the one before it still did.
            took_s, self._last_end = min(took_s, now - self._last_end), now
        tell(took_s)
        self.dispatch()

    def _ends(self, work: Work, now: float) -> float:
        """When work that starts now should end; on a shared device, after what runs already."""
        alone = now + work.expected_s
        if self.independent or not self._running:
            return alone
        before = max(until for until, _ in self._running.values())
        return max(alone, before + (1 - OVERLAP) * work.expected_s)

    def _plan_to_wake(self, now: float) -> None:
        times = [at for source in self._sources if (at := source.wake_at()) is not None]
        at = min([*times, self._stand_by_ends()])
        if at == math.inf:
            return
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
