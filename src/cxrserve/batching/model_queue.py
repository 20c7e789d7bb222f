"""The queue of one model: requests in, batches to the device, each answer to its own request."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.device import Clock, Device, Work
from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import Slots, decide, expected_finish, latest_finish
from cxrserve.engines.engine import Engine, Masks, Outputs
from cxrserve.engines.latency import LatencyTable
from cxrserve.errors import DeadlineExceeded, EngineFailure

Answered = Outputs | Masks | EngineFailure

_TICK_S = 1e-4


@dataclass(frozen=True, slots=True)
class Inference:
    """What came out, the time it took in milliseconds, and with how many images it ran."""

    outputs: Outputs | Masks
    queue_ms: float
    inference_ms: float
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


@dataclass(slots=True)
class _Request:
    pixels: NDArray[np.uint8]
    arrived: float
    answer: asyncio.Future[Inference]


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
        self._all_done = asyncio.Event()
        device.attach(self)

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._line)

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
            if number in self._line:  # the caller has gone
                self._line.remove(number)
                self.device.dispatch()
            self._requests.pop(number, None)
            self._tell_when_empty()

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
        # Nobody learns later than he must that he will not be answered.
        latest = due - self.table.seconds(1) + _TICK_S
        return latest if self._wait_until is None else min(latest, self._wait_until)

    def next_work(self, slots: Slots, now: float) -> Work | None:
        """See `Source.next_work`."""
        decision = decide(self._line, self.table, self._slots(slots), now)
        self._wait_until = decision.wait_until
        for number in decision.late:
            self._refuse(self._line.remove(number), now)
        if not decision.run:
            return None
        self._line.take(decision.run)
        return self._work([self._requests[number] for number in decision.run], now)

    def _work(self, batch: list[_Request], started: float) -> Work:
        count = len(batch)
        buffer = self._buffer(batch[0].pixels.shape) if count > 1 else None
        if buffer is None:
            pixels = batch[0].pixels[None]
        else:
            for place, request in enumerate(batch):
                buffer[place] = request.pixels
            pixels = buffer[:count]
        self._in_flight += 1

        def done(given: Any, error: BaseException | None, took_s: float) -> None:
            self._in_flight -= 1
            if buffer is not None:
                self._buffers.append(buffer)
            answers: list[Answered] = given if error is None else [_failure(error)] * count
            self._give(batch, answers, started, took_s)

        expected_s = self.table.seconds(min(count, self.table.largest))
        return Work(lambda: _run(self.engine, pixels), expected_s, done, self.width)

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
                request.answer.set_result(Inference(answer, waited_s * 1e3, took_s * 1e3, count))
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


def _run(engine: Engine, pixels: NDArray[np.uint8]) -> list[Answered]:
    """One answer an image. A batch that fails is halved; its good half is not lost."""
    try:
        outputs = engine.run(pixels)
        given = len(outputs.mask if isinstance(outputs, Masks) else outputs.logits)
        if given != len(pixels):
            raise EngineFailure(f"the engine gave {given} answers for {len(pixels)} images")
        answers: list[Answered] = [_row(outputs, place) for place in range(len(pixels))]
    except Exception as error:  # noqa: BLE001 - any failure is told to who asked for the image
        if len(pixels) == 1:
            return [_failure(error)]
        half = len(pixels) // 2
        return _run(engine, pixels[:half]) + _run(engine, pixels[half:])
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
