"""The rules that are compared: ours, exactly as the service runs it, and the common ones."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Protocol

from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import Decision, Slots, decide, expected_finish, latest_finish
from cxrserve.batching.promises import Promises
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.host import FirstCome, HostQueue, InTurn

_LAST = 1 << 62
# As in `batching.batcher`.
_STAT_EXTRA = 1.25
_ROOM_AGAIN = 0.1


@dataclass(frozen=True, slots=True)
class Shown:
    """What a replica shows of its load to be scaled by (docs/metrics.md), in seconds.

    Attributes:
        demanded_s: time on a processor that all who came would take, each counted once.
        expected_wait_s: what a routine request that came now would wait.
    """

    demanded_s: float = 0.0
    expected_wait_s: float = 0.0


class Dispatcher(Protocol):
    """Holds who waits at one replica, and says what to run."""

    @property
    def host(self) -> HostQueue:
        """Who waits to be decoded; the world asks it, where decoding takes time."""

    def admit(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Let a request in; or refuse it, and return the seconds after which to come back.

        Infinite: its time would not do even if nobody waited.
        """

    def wait(self, request: Waiting, now: float) -> None:
        """One that was let in is decoded by now, and waits for the network."""

    def urgency(self, now: float) -> Priority | None:
        """Class of who would run next: decoding of a more urgent class goes before."""

    def decide(self, slots: Slots, now: float) -> Decision:
        """What to do now. Those it names, to run or as late, wait no more."""

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """These ran together, and it took this long, overlap with other batches left out."""

    def shows(self, slots: Slots, now: float) -> Shown:
        """What it would be scaled by; the rules that are not ours show nothing."""


class Ours:
    """`batching.policy` and `batching.line`, called as the service calls them.

    Args:
        table: of the model.
        host_s: what decoding takes, as the service has learned it.
        promising: newcomers leave room for those who were told to come back (`batching.promises`),
            as in the service. Where nobody comes back that room is lost.
        size: requests that may wait (`CXRSERVE_QUEUE_SIZE`); None: as many as can be in time.
    """

    def __init__(
        self,
        table: LatencyTable,
        *,
        host_s: float = 0.0,
        promising: bool = False,
        size: int | None = None,
    ) -> None:
        self.host = InTurn()
        self._table = LatencyTable.from_dict(table.as_dict())
        self._line = Line()
        self._host_s = host_s
        self._promises = Promises() if promising else None
        self._size = size
        self._booked: Counter[Priority] = Counter()
        self._demanded_s = 0.0

    def admit(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Refuse who cannot be answered in time behind those who are entitled to go first."""
        if now + self._host_s + self._table.seconds(1) > request.deadline:
            return math.inf
        key = request.number.to_bytes(8)
        if self._promises is None or not self._promises.knows(key):
            self._demanded_s += self._processor_s(slots) * request.images
        if self._is_full(request):
            assert self._size is not None
            wait_s = self._each_s(slots) * self._size * _ROOM_AGAIN
            return self._refuse(key, slots, now, wait_s=wait_s)
        ahead, finish = self._finish_of(request, slots, now)
        latest = latest_finish(request, line=self._line, ahead=ahead, table=self._table, now=now)
        if self._promises is not None and len(self._promises):
            if self._promises.keeps(key, now):
                latest = request.deadline
            elif request.priority is not Priority.STAT:
                latest = min(latest, self._newcomers_room(request, slots, now))
        if finish > latest:
            return self._refuse(key, slots, now, wait_s=finish - latest)
        self._booked[request.priority] += 1
        return None

    def wait(self, request: Waiting, now: float) -> None:
        """See `Dispatcher`."""
        self._booked[request.priority] -= 1
        self._line.add(replace(request, arrived=now))

    def urgency(self, now: float) -> Priority | None:
        """See `Dispatcher`."""
        first = self._line.first(now)
        return None if first is None else first[0]

    def decide(self, slots: Slots, now: float) -> Decision:
        """The policy's decision, carried out on the line; and who waited for decoding too long."""
        decision = decide(self._line, self._table, slots, now) if len(self._line) else Decision()
        for number in decision.late:
            self._line.remove(number)
        if decision.run:
            self._line.take(decision.run)
        hosted = self.host.line
        late = tuple(request.number for request in hosted.overdue(now))
        for number in late:
            self._booked[hosted.remove(number).priority] -= 1
        wakes = [at for at in (decision.wait_until, hosted.next_deadline()) if at is not None]
        return Decision(
            run=decision.run, late=decision.late + late, wait_until=min(wakes, default=None)
        )

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """The table learns."""
        self._table.observe(len(numbers), own_s)

    def shows(self, slots: Slots, now: float) -> Shown:
        """As `batching.batcher` counts and expects it."""
        newcomer = Waiting(number=_LAST, arrived=now, deadline=math.inf)
        _, finish = self._finish_of(newcomer, slots, now)
        wait_s = finish - now - self._host_s - self._table.seconds(1)
        return Shown(self._demanded_s, max(0.0, wait_s))

    def _finish_of(self, request: Waiting, slots: Slots, now: float) -> tuple[int, float]:
        """How many images go before a request, and when it would be answered."""
        booked = sum(n for priority, n in self._booked.items() if priority <= request.priority)
        ahead = booked + (self._line.ahead_of(request, now) if len(self._line) else 0)
        finish = expected_finish(
            ahead=ahead,
            images=request.images,
            table=self._table,
            slots=slots,
            now=now,
            other_work_s=(booked + 1) * self._host_s,
        )
        return ahead, finish

    def _is_full(self, request: Waiting) -> bool:
        if self._size is None:
            return False
        most = self._size * (_STAT_EXTRA if request.priority is Priority.STAT else 1)
        return len(self._line) + self._booked.total() + request.images > most

    def _newcomers_room(self, request: Waiting, slots: Slots, now: float) -> float:
        assert self._promises is not None
        return self._promises.newcomers_room(
            now=now,
            deadline=request.deadline,
            alone_s=self._host_s + self._table.seconds(1),
            each_s=self._each_s(slots),
        )

    def _refuse(self, key: bytes, slots: Slots, now: float, *, wait_s: float) -> float:
        if self._promises is None:
            return wait_s
        return self._promises.promise(key, now=now, wait_s=wait_s, each_s=self._each_s(slots))

    def _processor_s(self, slots: Slots) -> float:
        """What a request takes of the processors; a GPU's time is not theirs."""
        return self._host_s + (1 / self._table.best_rate() if slots.independent else 0.0)

    def _each_s(self, slots: Slots) -> float:
        """What one request takes of all slots."""
        threads = slots.free + len(slots.busy_until)
        return (1 / self._table.best_rate() + self._host_s) / threads


class Window:
    """A batch runs when it is full, or when its first request has waited `window_s`.

    As in MLServer (`max_batch_size`, `max_batch_time`); of size 1 it is no batching at all.
    First come, first served; nothing is refused.
    """

    def __init__(self, *, largest: int, window_s: float) -> None:
        self.host = FirstCome()
        self._largest, self._window_s = largest, window_s
        self._queue: deque[Waiting] = deque()

    def admit(self, request: Waiting, slots: Slots, now: float) -> None:
        """Everyone is let in."""

    def wait(self, request: Waiting, now: float) -> None:
        """See `Dispatcher`."""
        self._queue.append(replace(request, arrived=now))

    def urgency(self, now: float) -> Priority | None:
        """Nobody is more urgent than another."""
        return Priority.ROUTINE if self._queue else None

    def decide(self, slots: Slots, now: float) -> Decision:
        """Run the first, if the batch is full or old enough."""
        if not self._queue or not slots.free:
            return Decision()
        ripe = self._queue[0].arrived + self._window_s
        if len(self._queue) < self._largest and now < ripe:
            return Decision(wait_until=ripe)
        return Decision(run=_first(self._queue, self._largest))

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """It learns nothing."""

    def shows(self, slots: Slots, now: float) -> Shown:
        """Nothing."""
        return Shown()


class Triton(Window):
    """Triton's dynamic batcher: `max_queue_delay`, no preferred size, and a queue timeout.

    A request that has waited longer than the timeout is rejected (`timeout_action: REJECT`).
    """

    def __init__(self, *, largest: int, delay_s: float, timeout_s: float | None) -> None:
        super().__init__(largest=largest, window_s=delay_s)
        self._timeout_s = timeout_s

    def decide(self, slots: Slots, now: float) -> Decision:
        """Reject who has waited too long, then run the first if ripe."""
        late = []
        timeout_s = self._timeout_s
        while timeout_s is not None and self._queue and now - self._queue[0].arrived > timeout_s:
            late.append(self._queue.popleft().number)
        decision = super().decide(slots, now)
        return Decision(run=decision.run, late=tuple(late), wait_until=decision.wait_until)


def _first(queue: deque[Waiting], most: int) -> tuple[int, ...]:
    return tuple(queue.popleft().number for _ in range(min(most, len(queue))))
