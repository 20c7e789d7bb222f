"""All models' queues on their device, and who is let in: refused at once is better than late."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import operator
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.device import Clock, Device
from cxrserve.batching.line import Priority, Waiting
from cxrserve.batching.model_queue import Inference, ModelQueue, Statistics
from cxrserve.batching.promises import Promises
from cxrserve.batching.sharing import Sharing
from cxrserve.engines.engine import Engine, RemoteEngine
from cxrserve.engines.latency import LatencyTable
from cxrserve.errors import (
    BadRequest,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    NotReady,
    Overloaded,
)

Given = TypeVar("Given")

# Stat requests find room in a queue that is full of others.
_STAT_EXTRA = 1.25
# The number of who has not come yet.
_LAST = 1 << 62
# Of what a request usually takes.
_SMOOTHING = 0.05
# Whoever finds a full queue comes back when this share of it has been served.
_ROOM_AGAIN = 0.1
# Hashing all of a large upload would hold up the event loop.
_END = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks, how urgently, and until when an answer is of use (seconds on the clock).

    `images` of each model; `decoded`: they come as pixels, so that nothing is decoded. `digest`
    gives that of what was sent, so that who is refused is known again when he comes back; it is
    called only while somebody has been refused, and nothing else is kept.
    """

    priority: Priority
    deadline: float
    client: str = ""
    images: int = 1
    decoded: bool = False
    digest: Callable[[], bytes] = bytes


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a request is not let in: in words, how long until it could be, and what one takes."""

    detail: str
    wait_s: float
    each_s: float


def digest_of(client: str, upload: bytes | memoryview) -> bytes:
    """What a request is known by when it comes back: its client, its length, both its ends."""
    known = hashlib.blake2b(digest_size=16)
    for part in (client.encode(), len(upload).to_bytes(8), upload[:_END], upload[-_END:]):
        known.update(part)
    return known.digest()


class Batcher:
    """Runs images of any loaded model, and decoding, on the processors of this machine.

    Args:
        processors: threads for networks and decoding together.
        size: requests that may wait for one model.
        clock: seconds, monotonic.
        share_identical: identical images in flight are computed once.
    """

    def __init__(
        self, *, processors: int, size: int, clock: Clock, share_identical: bool = False
    ) -> None:
        self.sharing: Sharing[Inference] | None = Sharing() if share_identical else None
        self._clock, self._size = clock, size
        self._device = Device(threads=processors, independent=True, clock=clock, name="processor")
        self._others: list[Device] = []
        self._queues: dict[int, ModelQueue] = {}
        self._stand_ins: dict[int, ModelQueue] = {}
        self._to_decode: Counter[Priority] = Counter()
        self._promises = Promises()
        self._inside = 0
        self._none_inside = asyncio.Event()
        self._closing = False
        self.refused = 0
        """Requests that were refused because they could not be answered in time, or no room."""
        self.demanded_s = 0.0
        """Seconds of a processor that all who came would take, the refused as well; each once
        however often it comes back, and none whom no processor could serve in time."""
        self._usual_s = 0.0

    def serve(self, engine: Engine, table: LatencyTable) -> ModelQueue:
        """Let an engine be asked: on the processors, or on a device of its own.

        Each slot of an engine that runs on the processors gets its share of them.
        """
        queue = self._queues[id(engine)] = self._queue_before(engine, table)
        if isinstance(engine, RemoteEngine):
            engine.when_out_of_reach(queue.turn_away)
        return queue

    def stand_in(self, engine: RemoteEngine, local: Engine, table: LatencyTable) -> None:
        """Let a local engine be asked whenever this one, which is served already, cannot answer."""
        self._stand_ins[id(engine)] = self._queue_before(local, table)

    async def withdraw(self, engine: Engine) -> None:
        """Let an engine be asked no more, once all that was let in for it is answered.

        Who calls this has seen to it that nobody asks for the engine any more.
        """
        for queue in self.queues_of(engine):
            await queue.drained()
        for queue in self.queues_of(engine):
            queue.device.detach(queue)
            if queue.device in self._others:
                self._others.remove(queue.device)
                queue.device.close()
        del self._queues[id(engine)]
        self._stand_ins.pop(id(engine), None)

    def queue_of(self, engine: Engine) -> ModelQueue:
        """The queue in front of an engine, or of what stands in for it now."""
        queue = self._queues[id(engine)]
        return queue if queue.is_available else self._stand_ins.get(id(engine), queue)

    def queues_of(self, engine: Engine) -> tuple[ModelQueue, ...]:
        """The queue in front of an engine, and of what stands in for it."""
        queue, stand_in = self._queues[id(engine)], self._stand_ins.get(id(engine))
        return (queue,) if stand_in is None else (queue, stand_in)

    def statistics_of(self, engine: Engine) -> Statistics:
        """What an engine has done, and what stood in for it."""
        return functools.reduce(operator.add, (one.statistics for one in self.queues_of(engine)))

    @property
    def processors(self) -> int:
        """Threads for networks and decoding together."""
        return self._device.threads

    @property
    def busy_s(self) -> float:
        """Seconds that they have worked, together."""
        return self._device.busy_s

    @property
    def devices(self) -> tuple[Device, ...]:
        """What work runs on: the processors first."""
        return (self._device, *self._others)

    def expected_wait_s(self, engine: Engine) -> float:
        """What a routine request would wait that came now, beyond what it takes itself."""
        now, queue = self._clock(), self.queue_of(engine)
        newcomer = Waiting(number=_LAST, arrived=now, deadline=math.inf)
        host_s = (self._to_decode.total() + 1) * self._device.host_s
        finish = self._finish_of([queue], newcomer, now, host_s=host_s)
        return max(0.0, finish - now - self._device.host_s - queue.table.seconds(1))

    def _queue_before(self, engine: Engine, table: LatencyTable) -> ModelQueue:
        device, width = self._device, 1
        remote = isinstance(engine, RemoteEngine)
        if engine.independent_slots and not remote:
            width = max(1, device.threads // engine.slots)
        else:
            device = Device(
                threads=engine.slots,
                independent=engine.independent_slots,
                clock=self._clock,
                name="remote" if remote else "device",
            )
            self._others.append(device)
        return ModelQueue(engine, table=table, device=device, clock=self._clock, width=width)

    def __iter__(self) -> Iterator[ModelQueue]:
        yield from self._queues.values()
        yield from self._stand_ins.values()

    def enter(self, engines: Sequence[Engine], asking: Asking) -> Booking:
        """Let a request in that asks these engines about one image, or refuse it now.

        Returns:
            Its booking: to be closed when it is answered, whatever the answer.

        Raises:
            Overloaded: it could not be answered in time, or too many wait; with the time to come
                back at.
            NotReady: the service is draining.
            EngineUnavailable: an engine runs elsewhere and cannot be asked, nor any in its place.
            BadRequest: it brings more images than may wait at all.
        """
        if self._closing:
            raise NotReady("the service is shutting down", advice="send it to another replica")
        now = self._clock()
        queues = {id(engine): self.queue_of(engine) for engine in engines}
        for queue in queues.values():
            if not queue.is_available:
                raise EngineUnavailable(f"{queue.engine.name} is out of reach")
        comes_back = bool(len(self._promises)) and self._promises.knows(asking.digest())
        refusal = self._why_not(list(queues.values()), asking, now)
        if not comes_back and not isinstance(refusal, DeadlineExceeded):
            takes_s = self._processor_s(list(queues.values()), asking)
            self.demanded_s += takes_s
            self._usual_s += _SMOOTHING * (takes_s - self._usual_s)
        if refusal is not None and self._stand_ins:
            # What is too much for others may not be too much for us.
            here = {id(engine): self.queues_of(engine)[-1] for engine in engines}
            if here != queues and self._why_not(list(here.values()), asking, now) is None:
                queues, refusal = here, None
        if refusal is not None:
            self._refuse(asking, now, refusal)
        return Booking(self, queues, asking)

    def turned_away(self) -> None:
        """Somebody was refused before it was known what he wants; it counts as the usual."""
        self.demanded_s += self._usual_s

    async def decode(self, work: Callable[[], Given], asking: Asking) -> Given:
        """Run decoding, drawing and the like where the networks run, when it is its turn."""
        return await self._device.run(
            work, priority=asking.priority, deadline=asking.deadline, client=asking.client
        )

    async def close(self) -> None:
        """Let nobody in any more, finish what was let in, end the threads."""
        self._closing = True
        while self._inside:
            self._none_inside.clear()
            await self._none_inside.wait()
        for queue in self:
            await queue.drained()
        for device in (self._device, *self._others):
            device.close()

    def _processor_s(self, queues: list[ModelQueue], asking: Asking) -> float:
        """What a request takes of the processors here: decoding, and networks that run on them."""
        here = (queue for queue in queues if queue.device is self._device)
        networks_s = sum(queue.width / queue.table.best_rate() for queue in here)
        return asking.images * networks_s + (0.0 if asking.decoded else self._device.host_s)

    def _why_not(
        self, queues: list[ModelQueue], asking: Asking, now: float
    ) -> _Refusal | DeadlineExceeded | None:
        return self._no_room(queues, asking) or self._no_time(queues, asking, now)

    def _no_room(self, queues: list[ModelQueue], asking: Asking) -> _Refusal | None:
        if asking.images > self._size:
            raise BadRequest(
                f"{asking.images} images are more than may wait for a model ({self._size})",
                advice="send them in several requests",
            )
        most = self._size * (_STAT_EXTRA if asking.priority is Priority.STAT else 1)
        for queue in queues:
            held = len(queue) + queue.booked.total()
            if held + asking.images > most:
                each_s = 1 / queue.table.best_rate() / self._device.threads
                return _Refusal(
                    f"{held} requests wait for this model already",
                    wait_s=each_s * self._size * _ROOM_AGAIN,
                    each_s=each_s,
                )
        return None

    def _no_time(
        self, queues: list[ModelQueue], asking: Asking, now: float
    ) -> _Refusal | DeadlineExceeded | None:
        alone_s = max(queue.table.seconds(1) for queue in queues)
        alone_s += 0 if asking.decoded else self._device.host_s
        budget_ms = (asking.deadline - now) * 1e3
        if now + alone_s > asking.deadline:
            return DeadlineExceeded(
                f"no answer within {max(budget_ms, 0):.0f} ms is possible: "
                f"it takes about {alone_s * 1e3:.0f} ms even when nobody waits",
                advice="ask with a later deadline_ms",
            )
        newcomer = Waiting(
            number=_LAST,
            arrived=now,
            deadline=asking.deadline,
            priority=asking.priority,
            client=asking.client,
            images=asking.images,
        )
        decoding = sum(n for p, n in self._to_decode.items() if p <= asking.priority)
        host_s = (decoding + (not asking.decoded)) * self._device.host_s
        finish = self._finish_of(queues, newcomer, now, host_s=host_s)
        each_s = sum(1 / queue.table.best_rate() for queue in queues) + self._device.host_s
        each_s /= self._device.threads
        room = min(queue.latest_finish(newcomer, now) for queue in queues)
        if len(self._promises):
            if self._promises.keeps(asking.digest(), now):
                room = asking.deadline
            elif asking.priority is not Priority.STAT:
                left = self._promises.newcomers_room(
                    now=now, deadline=asking.deadline, alone_s=alone_s, each_s=each_s
                )
                room = min(room, left)
        if finish <= room:
            return None
        return _Refusal(
            f"no answer within {budget_ms:.0f} ms is promised: "
            f"it would take about {(finish - now) * 1e3:.0f} ms",
            wait_s=finish - room,
            each_s=each_s,
        )

    def _finish_of(
        self, queues: list[ModelQueue], newcomer: Waiting, now: float, *, host_s: float
    ) -> float:
        before = [(queue, queue.work_before(newcomer, now)) for queue in self]
        finish = now
        for queue in queues:
            same = [(q, s) for q, s in before if q is not queue and q.device is queue.device]
            others = sum(s for _, s in same)
            others += sum(1 / q.table.best_rate() for q, _ in same if q in queues)
            finish = max(finish, queue.finish_of(newcomer, now, other_work_s=host_s + others))
        return finish

    def _refuse(self, asking: Asking, now: float, refusal: _Refusal | DeadlineExceeded) -> NoReturn:
        if isinstance(refusal, DeadlineExceeded):
            raise refusal
        self.refused += 1
        wait_s = self._promises.promise(
            asking.digest(), now=now, wait_s=refusal.wait_s, each_s=refusal.each_s
        )
        raise Overloaded(
            refusal.detail, advice=f"come back in {wait_s:.1f} s, or send it to another replica",
            retry_after_s=wait_s,
        )  # fmt: skip

    def _entered(self) -> None:
        self._inside += 1

    def _left(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._none_inside.set()


class Booking:
    """One request that is inside; its places are kept until its images come."""

    def __init__(self, batcher: Batcher, queues: dict[int, ModelQueue], asking: Asking) -> None:
        self._batcher, self._asking = batcher, asking
        self._queue_of, self._queues = queues, list(queues.values())
        self._kept = {id(queue): asking.images for queue in self._queues}
        self._decodes = not asking.decoded
        if self._decodes:
            batcher._to_decode[asking.priority] += 1
        for queue in self._queues:
            queue.visited(1)
            queue.booked[asking.priority] += asking.images
        batcher._entered()

    async def submit(self, engine: Engine, pixels: NDArray[np.uint8]) -> Inference:
        """Run one image uint8 `[1, side, side]`; see `ModelQueue.submit`.

        Where a remote engine fails, what stands in for it answers.
        """
        queue = self._queue_of[id(engine)]
        self._release(queue, 1)
        self._has_decoded()
        try:
            if not queue.is_available:
                raise EngineUnavailable(f"{queue.engine.name} is out of reach")
            return await self._submit(queue, pixels)
        except EngineFailure:
            *_, stand_in = self._batcher.queues_of(engine)
            if stand_in is queue:
                raise
            return await self._submit(stand_in, pixels)

    async def _submit(self, queue: ModelQueue, pixels: NDArray[np.uint8]) -> Inference:
        asking = self._asking

        def submit() -> Coroutine[Any, Any, Inference]:
            return queue.submit(
                pixels, priority=asking.priority, deadline=asking.deadline, client=asking.client
            )

        sharing = self._batcher.sharing
        if sharing is None:
            return await submit()
        # An engine runs one package; who is more urgent does not wait for who is less.
        what = hashlib.blake2b(f"{id(queue)} {asking.priority} ".encode(), digest_size=16)
        what.update(pixels.tobytes())
        return await sharing.run(what.digest(), submit)

    def _release(self, queue: ModelQueue, images: int) -> None:
        # A mirrored film is a second image that nobody booked.
        images = min(images, self._kept[id(queue)])
        self._kept[id(queue)] -= images
        queue.booked[self._asking.priority] -= images

    def _has_decoded(self) -> None:
        if self._decodes:
            self._decodes = False
            self._batcher._to_decode[self._asking.priority] -= 1

    def __enter__(self) -> Booking:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for queue in self._queues:
            self._release(queue, self._kept[id(queue)])
            queue.visited(-1)
        self._has_decoded()
        self._batcher._left()
