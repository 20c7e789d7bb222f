"""The queue of one model: requests in, batches to the device, each answer to its own request."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.device import Clock, Device, Work
from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import Slots, decide, expected_finish, latest_finish, useful_size
from cxrserve.engines.engine import Engine, Errand, Masks, Outputs, RemoteEngine
from cxrserve.engines.latency import LatencyTable
from cxrserve.errors import DeadlineExceeded, EngineFailure, EngineUnavailable

Answered = Outputs | Masks | EngineFailure

_TICK_S = 1e-4


@dataclass(frozen=True, slots=True)
class Inference:
    """What came out, of which engine, the milliseconds it took, and with how many images it ran."""

    outputs: Outputs | Masks
    queue_ms: float
    inference_ms: float
    engine: str
    batch: int = 1


@dataclass(slots=True)
class Statistics:
    """What a queue has done since it began; times in seconds, summed over images.

    `batch_s`: time of all batches of a size, each counted once. `prepare_s`: reading, checking and
    fitting. `ended`: when the last batch did, on the queue's clock.
    """

    batches: Counter[int] = field(default_factory=Counter)
    batch_s: dict[int, float] = field(default_factory=dict)
    images: int = 0
    failed: int = 0
    late: int = 0
    prepare_s: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0
    ended: float | None = None

    def __add__(self, other: Statistics) -> Statistics:
        """What both have done together."""
        ends = [ended for ended in (self.ended, other.ended) if ended is not None]
        return Statistics(
            batches=self.batches + other.batches,
            batch_s={
                size: self.batch_s.get(size, 0.0) + other.batch_s.get(size, 0.0)
                for size in {**self.batch_s, **other.batch_s}
            },
            images=self.images + other.images,
            failed=self.failed + other.failed,
            late=self.late + other.late,
            prepare_s=self.prepare_s + other.prepare_s,
            queue_s=self.queue_s + other.queue_s,
            compute_s=self.compute_s + other.compute_s,
            ended=max(ends, default=None),
        )


@dataclass(slots=True)
class _Request:
    pixels: NDArray[np.uint8]
    arrived: float
    answer: asyncio.Future[Inference]
    batch: _Batch | None = None


class _Batch:
    """Requests that run together, elsewhere; when the last of them has gone, it is called off."""

    def __init__(self, requests: list[_Request], errand: Errand) -> None:
        self._requests, self._errand = requests, errand
        for request in requests:
            request.batch = self

    def one_has_gone(self) -> None:
        """Of its callers."""
        if all(request.answer.done() for request in self._requests):
            self._errand.stop()


class ModelQueue:
    """Requests for one model, batched by the policy. Used from one event loop.

    A request whose caller has gone is not computed, nor one whose deadline cannot be met. A batch
    that fails is halved until what fails is alone; the others are answered.

    Args:
        engine: runs batches of uint8 `[N, 1, side, side]`.
        table: how long they take; refreshed by every batch that runs.
        device: where they run.
        clock: seconds, monotonic; the same as the device's.
        width: how many of the device's threads one batch keeps busy.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        table: LatencyTable,
        device: Device,
        clock: Clock,
        width: int = 1,
    ) -> None:
        self.engine, self.table, self.width = engine, table, width
        # Asked once: a protocol with many members is slow to compare with.
        self._remote = engine if isinstance(engine, RemoteEngine) else None
        self.statistics = Statistics()
        self.booked: Counter[Priority] = Counter()
        """Images that were let in and are not here yet: they are being decoded."""
        self._visitors = 0
        self.device, self._clock = device, clock
        self._line = Line()
        self._requests: dict[int, _Request] = {}
        self._numbers = itertools.count()
        self._buffers: list[NDArray[np.uint8]] = []
        self._wait_until: float | None = None
        self._in_flight = 0
        self._ahead: list[tuple[Work, list[Waiting]]] = []
        self._all_done = asyncio.Event()
        device.attach(self)

    def __len__(self) -> int:
        """Requests that wait."""
        standing_by = (one for work, one in self._ahead if self.device.stands_by(work))
        return len(self._line) + sum(map(len, standing_by))

    async def submit(
        self, pixels: NDArray[np.uint8], *, priority: Priority, deadline: float, client: str = ""
    ) -> Inference:
        """Run one image.

        Args:
            pixels: uint8 `[1, side, side]`.
            deadline: on the queue's clock, in seconds.
            client: who asks; within a class every client gets the same share.

        Raises:
            DeadlineExceeded: it cannot be answered in time any more.
            EngineFailure: the network failed on this image.
        """
        now, number = self._clock(), next(self._numbers)
        answer: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        self._requests[number] = _Request(pixels, now, answer)
        self._line.add(
            Waiting(number=number, arrived=now, deadline=deadline, priority=priority, client=client)
        )
        self.device.dispatch()
        try:
            return await answer
        finally:
            if answer.cancelled():  # the caller has gone
                self.device.recall()
                if number in self._line:
                    self._line.remove(number)
                batch = self._requests[number].batch
                if batch is not None:
                    batch.one_has_gone()
                self.device.dispatch()
            self._requests.pop(number, None)
            self._tell_when_empty()

    def waiting(self) -> dict[Priority, int]:
        """Requests that wait, by the class they count as; those that stand by by their own."""
        standing_by = Counter(
            one.priority
            for work, requests in self._ahead
            if self.device.stands_by(work)
            for one in requests
        )
        return {one: self._line.of_class(one) + standing_by[one] for one in Priority}

    def oldest_s(self) -> float:
        """For how long the one has waited that came first of those who wait; 0 if none does."""
        waiting = [one.arrived for one in self._line.in_order(self._clock())]
        waiting += [
            one.arrived
            for work, requests in self._ahead
            if self.device.stands_by(work)
            for one in requests
        ]
        return max(0.0, self._clock() - min(waiting)) if waiting else 0.0

    @property
    def is_available(self) -> bool:
        """Whether the engine may be asked now."""
        return self._remote is None or self._remote.is_available

    def turn_away(self) -> None:
        """Tell all who wait that the engine cannot be asked any more."""
        self.device.recall()
        for number in [one.number for one in self._line.in_order(self._clock())]:
            self._line.remove(number)
            answer = self._requests[number].answer
            if not answer.done():
                answer.set_exception(EngineUnavailable(f"{self.engine.name} is out of reach"))

    def finish_of(self, newcomer: Waiting, now: float, *, other_work_s: float) -> float:
        """When a request that comes now would be answered at the earliest; see the policy."""
        return expected_finish(
            # Images of one request are batched like those of several: it ends with its last.
            ahead=self._ahead_of(newcomer, now) + newcomer.images - 1,
            images=1,
            table=self.table,
            slots=self._slots(self.device.slots()),
            now=now,
            other_work_s=other_work_s,
        )

    def work_before(self, newcomer: Waiting, now: float) -> float:
        """Seconds of one slot that requests here take which go before this one elsewhere."""
        ahead = self._ahead_of(newcomer, now)
        return ahead / self.table.best_rate() if ahead else 0.0

    def latest_finish(self, newcomer: Waiting, now: float) -> float:
        """Who is not expected to be answered by then is refused; see the policy."""
        return latest_finish(
            newcomer,
            line=self._line,
            ahead=self._ahead_of(newcomer, now),
            table=self.table,
            now=now,
        )

    def _ahead_of(self, newcomer: Waiting, now: float) -> int:
        booked = sum(n for priority, n in self.booked.items() if priority <= newcomer.priority)
        return booked + (self._line.ahead_of(newcomer, now) if len(self._line) else 0)

    def visited(self, change: int) -> None:
        """So many more requests that were let in may still come here (or, negative, fewer)."""
        self._visitors += change
        self._tell_when_empty()

    async def drained(self) -> None:
        """Wait until nothing waits or runs, and none that was let in can still come."""
        while self._requests or self._in_flight or self._visitors:
            self._all_done.clear()
            await self._all_done.wait()

    def urgency(self, now: float) -> tuple[Priority, float] | None:
        """See `Source.urgency`."""
        first = self._line.first(now)
        return None if first is None else (first[0], first[1].deadline)

    def wake_at(self) -> float | None:
        """See `Source.wake_at`."""
        due = self._line.next_deadline()
        if due is None:
            return None
        latest = self._hopeless_at(due)
        return latest if self._wait_until is None else min(latest, self._wait_until)

    def _hopeless_at(self, deadline: float) -> float:
        """Nobody learns later than this that he will not be answered by his deadline."""
        return deadline - self.table.seconds(1) + _TICK_S

    def next_work(self, slots: Slots, now: float) -> Work | None:
        """See `Source.next_work`."""
        run = self._decide(slots, now, ahead=False)
        return self._work(self._line.take(run)) if run else None

    def work_ahead(self, slots: Slots, now: float) -> Work | None:
        """See `Source.work_ahead`."""
        full = useful_size(self.table)
        if self._line.images < full:
            return None
        run = self._decide(slots, now, ahead=True)
        if len(run) < full:
            return None
        requests = self._line.take(run)
        work = self._work(requests)
        self._ahead = [one for one in self._ahead if self.device.stands_by(one[0])]
        self._ahead.append((work, requests))
        return work

    def _decide(self, slots: Slots, now: float, *, ahead: bool) -> tuple[int, ...]:
        decision = decide(self._line, self.table, self._slots(slots), now, ahead=ahead)
        self._wait_until = decision.wait_until
        for number in decision.late:
            self._refuse(self._line.remove(number), now)
        return decision.run

    def _work(self, waited: list[Waiting]) -> Work:
        batch = [self._requests[one.number] for one in waited]
        count, began = len(batch), self._clock()
        buffer = self._buffer(batch[0].pixels.shape) if count > 1 else None
        if buffer is None:
            pixels = batch[0].pixels[None]
        else:
            for place, request in enumerate(batch):
                buffer[place] = request.pixels
            pixels = buffer[:count]
        self._in_flight += 1
        expected_s = self.table.seconds(min(count, self.table.largest))
        run_batch = self.engine.run
        if self._remote is not None:
            deadline = min(one.deadline for one in waited)
            level = 1 + min(one.priority for one in waited)
            errand = Errand(deadline=deadline, expected_s=expected_s, level=level)
            run_batch = partial(self._remote.run_errand, errand=errand)
            _Batch(batch, errand)

        def run() -> list[Answered]:
            nonlocal began
            began = self._clock()
            return _run(run_batch, pixels)

        def clear() -> None:
            self._in_flight -= 1
            if buffer is not None:
                self._buffers.append(buffer)

        def done(given: Any, error: BaseException | None, took_s: float) -> None:
            clear()
            answers: list[Answered] = given if error is None else [_failure(error)] * count
            self._give(batch, answers, began, took_s)

        def undo() -> None:
            clear()
            for one in waited:
                self._line.put_back(one)

        start_by = self._hopeless_at(min(one.deadline for one in waited))
        return Work(run, expected_s, done, undo, start_by, self.width)

    def _slots(self, slots: Slots) -> Slots:
        """The device's threads as slots of this model's width."""
        if self.width == 1:
            return slots
        return Slots(
            free=slots.free // self.width,
            busy_until=tuple(sorted(slots.busy_until)[self.width - 1 :: self.width]),
            independent=slots.independent,
        )

    def _give(
        self, batch: list[_Request], answers: list[Answered], started: float, took_s: float
    ) -> None:
        count, seen = len(batch), self.statistics
        failed = sum(isinstance(one, EngineFailure) for one in answers)
        if not failed:  # a batch that was halved says nothing of its size
            self.table.observe(min(count, self.table.largest), took_s)
        seen.batches[count] += 1
        seen.batch_s[count] = seen.batch_s.get(count, 0.0) + took_s
        seen.ended = self._clock()
        seen.images += count
        seen.failed += failed
        seen.compute_s += took_s * count
        for request, answer in zip(batch, answers, strict=True):
            waited_s = started - request.arrived
            seen.queue_s += waited_s
            if request.answer.done():
                continue
            if isinstance(answer, EngineFailure):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(
                    Inference(answer, waited_s * 1e3, took_s * 1e3, self.engine.name, count)
                )
        self._tell_when_empty()

    def _refuse(self, late: Waiting, now: float) -> None:
        self.statistics.late += late.images
        answer = self._requests[late.number].answer
        if not answer.done():
            answer.set_exception(
                DeadlineExceeded(
                    f"no answer was possible in time after {(now - late.arrived) * 1e3:.0f} ms "
                    "in the queue",
                    advice="ask with a later deadline_ms, or when fewer requests wait",
                )
            )

    def _buffer(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return (
            self._buffers.pop()
            if self._buffers
            else np.empty((self.table.largest, *shape), np.uint8)
        )

    def _tell_when_empty(self) -> None:
        if not (self._requests or self._in_flight or self._visitors):
            self._all_done.set()


def _run(
    run: Callable[[NDArray[np.uint8]], Outputs | Masks], pixels: NDArray[np.uint8]
) -> list[Answered]:
    """One answer an image. A batch that fails is halved; its good half is not lost."""
    try:
        outputs = run(pixels)
        given = len(outputs.mask if isinstance(outputs, Masks) else outputs.logits)
        if given != len(pixels):
            raise EngineFailure(f"the engine gave {given} answers for {len(pixels)} images")
        answers: list[Answered] = [_row(outputs, place) for place in range(len(pixels))]
    except EngineUnavailable:
        raise  # whatever the images: its halves would fare no better
    except Exception as error:  # noqa: BLE001 - any failure is told to who asked for the image
        if len(pixels) == 1:
            return [_failure(error)]
        half = len(pixels) // 2
        return _run(run, pixels[:half]) + _run(run, pixels[half:])
    return answers


def _row(outputs: Outputs | Masks, place: int) -> Outputs | Masks:
    one = slice(place, place + 1)
    if isinstance(outputs, Masks):
        return Masks(outputs.mask[one])
    return Outputs(outputs.logits[one], outputs.cam[one], outputs.bias)


def _failure(error: BaseException) -> EngineFailure:
    if isinstance(error, EngineFailure):
        return error
    failure = EngineFailure("the engine failed on this image")
    failure.__cause__ = error
    return failure
