"""The rules that are compared: ours, exactly as the service runs it, and the common ones."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from cxrserve.batching.line import Line, Waiting
from cxrserve.batching.policy import Decision, Slots, decide, expected_finish, latest_finish
from cxrserve.engines.latency import LatencyTable


class Dispatcher(Protocol):
    """Holds who waits at one replica, and says what to run."""

    def arrive(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Let a request wait; or refuse it, and return the seconds after which to come back."""

    def decide(self, slots: Slots, now: float) -> Decision:
        """What to do now. Those it names, to run or as late, wait no more."""

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """These ran together, and it took this long, overlap with other batches left out."""


class Ours:
    """`batching.policy` and `batching.line`, called as the service calls them."""

    def __init__(self, table: LatencyTable) -> None:
        self._table = LatencyTable.from_dict(table.as_dict())
        self._line = Line()

    def arrive(self, request: Waiting, slots: Slots, now: float) -> float | None:
        """Refuse who cannot be answered in time behind those who are entitled to go first."""
        ahead = self._line.ahead_of(request, now)
        finish = expected_finish(
            ahead=ahead,
            images=request.images,
            table=self._table,
            slots=slots,
            now=now,
        )
        latest = latest_finish(request, line=self._line, ahead=ahead, table=self._table, now=now)
        if finish > latest:
            return finish - latest
        self._line.add(request)
        return None

    def decide(self, slots: Slots, now: float) -> Decision:
        """The policy's decision, carried out on the line."""
        decision = decide(self._line, self._table, slots, now)
        for number in decision.late:
            self._line.remove(number)
        self._line.take(decision.run)
        return decision

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """The table learns."""
        self._table.observe(len(numbers), own_s)


class Window:
    """A batch runs when it is full, or when its first request has waited `window_s`.

    As in MLServer (`max_batch_size`, `max_batch_time`); of size 1 it is no batching at all.
    First come, first served; nothing is refused.
    """

    def __init__(self, *, largest: int, window_s: float) -> None:
        self._largest, self._window_s = largest, window_s
        self._queue: deque[Waiting] = deque()

    def arrive(self, request: Waiting, slots: Slots, now: float) -> None:
        """Everyone waits."""
        self._queue.append(request)

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
