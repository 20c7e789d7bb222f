"""BentoML's adaptive batching (1.4, `marshal/dispatcher.py`), written again from its description.

Every millisecond it looks at the queue. One batch is in flight in a worker. It believes that a
batch of n takes a·n + b, by least squares over its last 50 batches; the first eleven batches are
training. It drops the oldest request while wait + a·(queue length) + b is not below the limit.
A window with one batch size only has no unique fit: least squares then gives a = b = half the
time, and after a quiet time a burst looks much slower than it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from cxrserve.batching.line import Priority, Waiting
from cxrserve.batching.policy import Decision, Slots
from cxrserve.simulation.dispatchers import Shown
from cxrserve.simulation.host import FirstCome

_POLL_S = 0.001
_KEPT = 50
_NOT_COUNTED = 2
_REFIT_EVERY_S = 5.0
# Of the training batches: (how many, of what size).
_TRAINING = ((8, 1), (1, 1), (1, 2), (1, 3))
_TRAINING_BATCHES = sum(count for count, _ in _TRAINING)
_DECAY = 0.95


class BentoMl:
    """One worker for each independent slot, each with its own queue; one for a shared device."""

    def __init__(self, *, largest: int, limit_s: float, workers: int) -> None:
        self.host = FirstCome()
        self._workers = [_Worker(largest, limit_s) for _ in range(workers)]
        self._next = 0

    def admit(self, request: Waiting, slots: Slots, now: float) -> None:
        """Everyone is let in."""

    def wait(self, request: Waiting, now: float) -> None:
        """Workers take turns."""
        self._workers[self._next].queue.append(replace(request, arrived=now))
        self._next = (self._next + 1) % len(self._workers)

    def urgency(self, now: float) -> Priority | None:
        """Nobody is more urgent than another."""
        return Priority.ROUTINE if any(worker.queue for worker in self._workers) else None

    def decide(self, slots: Slots, now: float) -> Decision:
        """What the first worker does that does anything."""
        late: list[int] = []
        for worker in self._workers:
            late += worker.shed(now)
            if run := worker.run(now):
                return Decision(run=run, late=tuple(late))
        # It polls on its own grid, whenever anyone waits.
        waiting = any(worker.queue for worker in self._workers)
        tick = (np.floor(now / _POLL_S + 1e-6) + 1) * _POLL_S
        return Decision(late=tuple(late), wait_until=float(tick) if waiting else None)

    def finished(self, numbers: tuple[int, ...], own_s: float) -> None:
        """Its worker learns."""
        next(worker for worker in self._workers if worker.running == numbers).learn(own_s)

    def shows(self, slots: Slots, now: float) -> Shown:
        """Nothing."""
        return Shown()


class _Worker:
    def __init__(self, largest: int, limit_s: float) -> None:
        self.queue: deque[Waiting] = deque()
        self.running: tuple[int, ...] = ()
        self._largest, self._limit_s = largest, limit_s
        self._each_s, self._start_s = min(2.0, limit_s * 2 / 30), min(1.0, limit_s / 30)
        self._usual_wait_s = 0.0
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=_KEPT)
        self._batches = 0
        self._waited_s = 0.0
        self._fitted_at = -np.inf
        self._now = 0.0

    def shed(self, now: float) -> list[int]:
        self._now = now
        gone = []
        while self.queue and self._too_late(now - self.queue[0].arrived):
            gone.append(self.queue.popleft().number)
        return gone

    def run(self, now: float) -> tuple[int, ...]:
        if self.running or not self.queue or self._corked(now):
            return ()
        self._waited_s = 0.0 if self._training() else now - self.queue[0].arrived
        count = min(self._largest, len(self.queue))
        self.running = tuple(self.queue.popleft().number for _ in range(count))
        return self.running

    def learn(self, took_s: float) -> None:
        self._batches += 1
        if self._batches > _NOT_COUNTED:
            self._seen.append((len(self.running), took_s, self._waited_s))
            just_trained = _TRAINING_BATCHES - 3 < self._batches <= _TRAINING_BATCHES
            if just_trained or self._now - self._fitted_at >= _REFIT_EVERY_S:
                self._fit()
        self.running = ()

    def _training(self) -> bool:
        return self._batches < _TRAINING_BATCHES

    def _training_size(self) -> int:
        done = self._batches
        for count, size in _TRAINING:
            if done < count:
                return min(size, self._largest)
            done -= count
        return 1

    def _too_late(self, waited_s: float) -> bool:
        waiting = len(self.queue)
        if self._training():
            return waiting > _TRAINING_BATCHES - self._batches and waited_s >= self._limit_s
        if waiting == 1:
            return bool(self.running) and waited_s >= self._limit_s
        return waited_s + self._each_s * waiting + self._start_s >= self._limit_s

    def _corked(self, now: float) -> bool:
        """It would rather wait for more."""
        waiting = len(self.queue)
        if self._training():
            size = self._training_size()
            batch_s = size * self._each_s + self._start_s
            patience_s = min(self._limit_s * 0.95, (2 * size + 1) * self._each_s + self._start_s)
            waited_s = now - self.queue[0].arrived
            return size > 1 and waiting < size and batch_s + waited_s <= patience_s
        last_waited_s = now - self.queue[-1].arrived
        cost_s = waiting * (last_waited_s + _POLL_S + self._each_s)
        return waiting < self._largest and cost_s <= self._usual_wait_s * _DECAY

    def _fit(self) -> None:
        sizes = np.array([(size, 1.0) for size, _, _ in self._seen])
        times = np.array([took_s for _, took_s, _ in self._seen])
        each_s, start_s = np.linalg.lstsq(sizes, times, rcond=None)[0]
        self._each_s, self._start_s = max(1e-6, float(each_s)), max(0.0, float(start_s))
        self._usual_wait_s = sum(waited for _, _, waited in self._seen) / len(self._seen)
        self._fitted_at = self._now
