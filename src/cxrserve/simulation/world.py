"""The virtual clock: requests come, replicas run batches, each request ends exactly once."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from cxrserve.batching.line import Waiting
from cxrserve.batching.policy import Decision
from cxrserve.simulation.device import Device, Hardware
from cxrserve.simulation.dispatchers import Dispatcher
from cxrserve.simulation.replicas import Autoscaler, Balancer, round_robin

_SHORTEST_WAIT_S = 1e-6


class Fate(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # when it came
    SHED = "shed"  # it waited, and was not run


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a request: when (s), with how many others, how soon to come back (s)."""

    request: Waiting
    fate: Fate
    at: float
    batch: int = 0
    retry_after_s: float = 0.0

    @property
    def in_time(self) -> bool:
        """Answered before its deadline."""
        return self.fate is Fate.ANSWERED and self.at <= self.request.deadline + 1e-9


@dataclass(frozen=True, slots=True)
class Story:
    """All that happened in a run.

    Attributes:
        endings: of every request, in order of arrival.
        batches: sizes of those that ran.
        busy_s: seconds that slots were busy.
        ready_s: seconds that slots were there.
        replicas: (when, how many) at each change.
    """

    endings: tuple[Ending, ...]
    batches: tuple[int, ...]
    busy_s: float
    ready_s: float
    replicas: tuple[tuple[float, int], ...]


class Replica:
    """A device and who waits for it."""

    def __init__(self, dispatcher: Dispatcher, device: Device, ready_at: float) -> None:
        self.dispatcher, self.device, self.ready_at = dispatcher, device, ready_at
        self.processors = device.processors()
        self.waiting: dict[int, Waiting] = {}
        self.running = 0
        self.leaving = False
        self.gone_at: float | None = None
        self.wake_at: float | None = None

    @property
    def outstanding(self) -> int:
        """Requests that wait or run here."""
        return len(self.waiting) + self.running


Event = tuple[float, int, Callable[[float], None]]


class World:
    """One run.

    Args:
        make: the dispatcher of a replica.
        hardware: of each replica.
        seed: of service times and of the balancer.
        replicas: at the beginning.
        balancer: chooses among those that are ready.
        autoscaler: changes how many there are.
    """

    def __init__(
        self,
        make: Callable[[], Dispatcher],
        hardware: Hardware,
        *,
        seed: int,
        replicas: int = 1,
        balancer: Balancer = round_robin,
        autoscaler: Autoscaler | None = None,
    ) -> None:
        self._make, self._hardware = make, hardware
        self._rng = np.random.default_rng(seed)
        self._balancer, self._autoscaler = balancer, autoscaler
        self._events: list[Event] = []
        self._order = itertools.count()
        self._turn = 0
        self._now = 0.0
        self._ended: dict[int, Ending] = {}
        self._batches: list[int] = []
        self._replicas: list[Replica] = [self._new(0.0) for _ in range(replicas)]
        self._counts: list[tuple[float, int]] = [(0.0, replicas)]

    def run(self, requests: Sequence[Waiting]) -> Story:
        """Offer these requests, and wait until each has ended.

        Raises:
            RuntimeError: a dispatcher forgot a request, or ended one twice.
        """
        coming = deque(sorted(requests, key=lambda r: (r.arrived, r.number)))
        if self._autoscaler is not None:
            self._at(self._autoscaler.every_s, self._scale)
        while coming or len(self._ended) < len(requests):
            if coming and (not self._events or coming[0].arrived < self._events[0][0]):
                self._now = coming[0].arrived
                self._arrive(coming.popleft(), self._now)
            elif self._events:
                self._now, _, happen = heapq.heappop(self._events)
                happen(self._now)
            else:
                lost = len(requests) - len(self._ended)
                raise RuntimeError(f"the dispatcher forgot {lost} requests")
        return self._story(requests)

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happen))

    def _new(self, ready_at: float) -> Replica:
        return Replica(self._make(), Device(self._hardware, self._rng), ready_at)

    def _arrive(self, request: Waiting, now: float) -> None:
        ready = [r for r in self._replicas if r.ready_at <= now and not r.leaving]
        load = [replica.outstanding for replica in ready]
        replica = ready[self._balancer(load, self._turn, self._rng)]
        self._turn += 1
        retry_after_s = replica.dispatcher.admit(request, replica.device.slots(), now)
        if retry_after_s is not None:
            self._end(Ending(request, Fate.REFUSED, now, retry_after_s=retry_after_s))
        else:
            replica.waiting[request.number] = request
            if self._hardware.host_s:
                replica.dispatcher.host.add(request)
            else:
                replica.dispatcher.wait(request, now)
        self._decide(replica, now)

    def _decide(self, replica: Replica, now: float) -> None:
        while True:
            if self._decodes_first(replica, now):
                self._decode(replica, now)
                continue
            decision = replica.dispatcher.decide(replica.device.slots(), now)
            for number in decision.late:
                self._end(Ending(replica.waiting.pop(number), Fate.SHED, now))
            if decision.run:
                self._start(replica, decision, now)
            elif self._may_decode(replica, now):
                self._decode(replica, now)
            else:
                break
        wake = decision.wait_until
        if wake is not None and wake != replica.wake_at and replica.waiting:
            replica.wake_at = max(wake, now + _SHORTEST_WAIT_S)
            self._at(replica.wake_at, lambda time: self._wake(replica, time))

    def _wake(self, replica: Replica, now: float) -> None:
        if replica.wake_at == now:  # otherwise another time was set since
            replica.wake_at = None
            self._decide(replica, now)

    def _may_decode(self, replica: Replica, now: float) -> bool:
        free = replica.processors.slots().free
        return free > 0 and replica.dispatcher.host.first(now) is not None

    def _decodes_first(self, replica: Replica, now: float) -> bool:
        """Of equally urgent work the batch goes first, as in `batching.device`."""
        if not self._may_decode(replica, now):
            return False
        waiting = replica.dispatcher.host.first(now)
        running = replica.dispatcher.urgency(now)
        return running is None or (waiting is not None and waiting < running)

    def _decode(self, replica: Replica, now: float) -> None:
        request = replica.waiting[replica.dispatcher.host.take(now)]
        ends = replica.processors.decode(now)

        def finish(time: float) -> None:
            replica.processors.finish(ends)
            replica.dispatcher.wait(request, time)
            self._decide(replica, time)

        self._at(ends, finish)

    def _start(self, replica: Replica, decision: Decision, now: float) -> None:
        batch = [replica.waiting.pop(number) for number in decision.run]
        if len(batch) > self._hardware.table.largest:
            raise RuntimeError(f"a batch of {len(batch)} is over the limit")
        ends, own_s = replica.device.start(len(batch), now)
        replica.running += len(batch)
        self._batches.append(len(batch))

        def finish(time: float) -> None:
            replica.device.finish(ends)
            replica.running -= len(batch)
            for request in batch:
                self._end(Ending(request, Fate.ANSWERED, time, batch=len(batch)))
            replica.dispatcher.finished(decision.run, own_s)
            self._decide(replica, time)
            if replica.leaving and not replica.outstanding:
                replica.gone_at = time

        self._at(ends, finish)

    def _end(self, ending: Ending) -> None:
        number = ending.request.number
        if number in self._ended:
            raise RuntimeError(f"request {number} ended twice")
        self._ended[number] = ending

    def _scale(self, now: float) -> None:
        assert self._autoscaler is not None
        there = [replica for replica in self._replicas if not replica.leaving]
        ready = [replica for replica in there if replica.ready_at <= now]
        wanted = self._autoscaler.wanted(
            outstanding=[replica.outstanding for replica in ready],
            busy_s=[replica.device.busy_s / replica.device.capacity() for replica in ready],
            count=len(there),
            now=now,
        )
        for _ in range(wanted - len(there)):
            self._replicas.append(self._new(now + self._autoscaler.start_s))
        if wanted < len(there):
            # Those that are not ready yet go first, then the idlest.
            there.sort(key=lambda r: (r.ready_at <= now, r.outstanding))
            for replica in there[: len(there) - wanted]:
                replica.leaving = True
                replica.gone_at = None if replica.outstanding else now
        if wanted != len(there):
            self._counts.append((now, wanted))
        self._at(now + self._autoscaler.every_s, self._scale)

    def _story(self, requests: Sequence[Waiting]) -> Story:
        ends = max([self._now, *(e.at for e in self._ended.values())])
        ready_s = sum(
            max(0.0, (ends if r.gone_at is None else r.gone_at) - r.ready_at) * r.device.capacity()
            for r in self._replicas
        )
        return Story(
            endings=tuple(self._ended[request.number] for request in requests),
            batches=tuple(self._batches),
            busy_s=sum(replica.device.busy_s for replica in self._replicas),
            ready_s=ready_s,
            replicas=tuple(self._counts),
        )
