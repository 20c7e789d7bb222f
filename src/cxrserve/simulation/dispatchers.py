"""The rules that are compared: ours, exactly as the service runs it, and the common ones."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Protocol

from cxrserve.batching.line import Line, Priority, Waiting
from cxrserve.batching.policy import Decision, Slots, decide, expected_finish, latest_finish
from cxrserve.batching.promises import Promises
from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.host import FirstCome, HostQueue, InTurn


class Dispatcher(Protocol):
    """Holds who waits at one replica, and says what to run."""

    @property
    def host(self) -> HostQueue:
        """Who waits to be decoded; the world asks it, where decoding takes time."""

    def admit(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Let a request in; or refuse it, and return the seconds after which to come back."""

    def wait(self, request: Waiting, now: float) -> None:
        """One that was let in is decoded by now, and waits for the network."""

    def urgency(self, now: float) -> Priority | None:
        """Class of who would run next: decoding of a more urgent class goes before."""

    def decide(self, slots: Slots, now: float) -> Decision:
        """What to do now. Those it names, to run or as late, wait no more."""

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """These ran together, and it took this long, overlap with other batches left out."""


class Ours:
    """`batching.policy` and `batching.line`, called as the service calls them.

    Args:
        table: of the model.
        host_s: what decoding takes, as the service has learned it.
        promising: newcomers leave room for those who were told to come back (`batching.promises`),
            as in the service. Where nobody comes back that room is lost.
    """

    def __init__(
        self, table: LatencyTable, *, host_s: float = 0.0, promising: bool = False
    ) -> None:
        self.host = InTurn()
        self._table = LatencyTable.from_dict(table.as_dict())
        self._line = Line()
        self._host_s = host_s
        self._promises = Promises() if promising else None
        self._booked: dict[int, Priority] = {}

    def admit(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Refuse who cannot be answered in time behind those who are entitled to go first."""
        booked = sum(priority <= request.priority for priority in self._booked.values())
        ahead = booked + (self._line.ahead_of(request, now) if len(self._line) else 0)
        finish = expected_finish(
            ahead=ahead,
            images=request.images,
            table=self._table,
            slots=slots,
            now=now,
            other_work_s=(booked + 1) * self._host_s,
        )
        latest = latest_finish(request, line=self._line, ahead=ahead, table=self._table, now=now)
        if self._promises is not None and request.priority is not Priority.STAT:
            alone_s = self._host_s + self._table.seconds(1)
            room = self._promises.newcomers_room(
                now=now, deadline=request.deadline, alone_s=alone_s, each_s=self._each_s(slots)
            )
            latest = min(latest, room)
        if finish > latest:
            return self._refuse(request, slots, now, wait_s=finish - latest)
        self._booked[request.number] = request.priority
        return None

    def wait(self, request: Waiting, now: float) -> None:
        """See `Dispatcher`."""
        del self._booked[request.number]
        self._line.add(replace(request, arrived=now))

    def urgency(self, now: float) -> Priority | None:
        """See `Dispatcher`."""
        first = self._line.first(now)
        return None if first is None else first[0]

    def decide(self, slots: Slots, now: float) -> Decision:
        """The policy's decision, carried out on the line; and who waited for decoding too long."""
        decision = decide(self._line, self._table, slots, now)
        for number in decision.late:
            self._line.remove(number)
        self._line.take(decision.run)
        hosted = self.host.line
        late = tuple(request.number for request in hosted.overdue(now))
        for number in late:
            hosted.remove(number)
            del self._booked[number]
        wakes = [at for at in (decision.wait_until, hosted.next_deadline()) if at is not None]
        return Decision(
            run=decision.run, late=decision.late + late, wait_until=min(wakes, default=None)
        )

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """The table learns."""
        self._table.observe(len(numbers), own_s)

    def _refuse(self, request: Waiting, slots: Slots, now: float, *, wait_s: float) -> float:
        alone_s = self._host_s + self._table.seconds(1)
        if self._promises is None or now + alone_s > request.deadline:
            return wait_s
        key = request.number.to_bytes(8)
        return self._promises.promise(key, now=now, wait_s=wait_s, each_s=self._each_s(slots))

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
