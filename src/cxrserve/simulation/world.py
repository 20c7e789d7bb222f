"""The virtual clock: requests come, replicas run batches, each request ends exactly once."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from cxrserve.batching.line import Waiting
from cxrserve.batching.policy import Decision
from cxrserve.simulation.autoscaling.autoscaler import Autoscaler
from cxrserve.simulation.autoscaling.prometheus import Readings
from cxrserve.simulation.callers import Callers
from cxrserve.simulation.device import Device, Hardware
from cxrserve.simulation.dispatchers import Dispatcher
from cxrserve.simulation.replicas import Balancer, round_robin

_SHORTEST_WAIT_S = 1e-6


class Fate(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # when it came
    SHED = "shed"  # it waited, and was not run


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a request, as it first came, in the end.

    Attributes:
        at: when (s).
        batch: images that ran together with it, its own included.
        retry_after_s: after which it was told to come back, the last time.
        attempts: how often it came.
    """

    request: Waiting
    fate: Fate
    at: float
    batch: int = 0
    retry_after_s: float = 0.0
    attempts: int = 1

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
    """A device and who waits for it.

    Args:
        slo_s: what it divides waiting by when it is scaled by that.
    """

    def __init__(
        self, name: int, dispatcher: Dispatcher, device: Device, *,
        created_at: float, ready_at: float, slo_s: float,
    ) -> None:  # fmt: skip
        self.name = name
        self.dispatcher, self.device = dispatcher, device
        self.created_at, self.ready_at = created_at, ready_at
        self.processors = device.processors()
        self.waiting: dict[int, Waiting] = {}
        self.running = 0
        self.leaving = False
        self.gone_at: float | None = None
        self.wake_at: float | None = None
        self._slo_s = slo_s

    @property
    def outstanding(self) -> int:
        """Requests that wait or run here."""
        return len(self.waiting) + self.running

    def readings(self, now: float) -> Readings:
        """What it shows at `/metrics`."""
        shown = self.dispatcher.shows(self.device.slots(), now)
        return Readings(
            processors=self.processors.capacity(),
            busy_s=self.processors.busy_s,
            demanded_s=shown.demanded_s,
            expected_wait_s=shown.expected_wait_s,
            slo_s=self._slo_s,
            waiting=len(self.waiting),
        )


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
        callers: come back after a refusal; None: nobody does.
        slo_s: time for an answer that replicas go by where none is asked for; of use to an
            autoscaler that looks at waiting.
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
        callers: Callers | None = None,
        slo_s: float = 1.0,
    ) -> None:
        self._make, self._hardware = make, hardware
        self._rng = np.random.default_rng(seed)
        self._balancer, self._autoscaler, self._callers = balancer, autoscaler, callers
        self._slo_s = slo_s
        self._events: list[Event] = []
        self._order = itertools.count()
        self._turn = 0
        self._now = 0.0
        self._ended: dict[int, Ending] = {}
        # Of those who came back: as they first came, and how often they have come.
        self._attempts: dict[int, tuple[Waiting, int]] = {}
        self._batches: list[int] = []
        self._ready: list[Replica] = []
        self._replicas: list[Replica] = []
        for _ in range(replicas):
            self._add(0.0, 0.0)
        self._counts: list[tuple[float, int]] = [(0.0, replicas)]

    def run(self, requests: Sequence[Waiting], *, until_s: float = 0.0) -> Story:
        """Offer these requests, and wait until each has ended.

        Args:
            until_s: go on at least until then: what an autoscaler does when nobody comes.

        Raises:
            RuntimeError: a dispatcher forgot a request, or ended one twice.
        """
        coming = deque(sorted(requests, key=lambda r: (r.arrived, r.number)))
        if self._autoscaler is not None:
            self._at(self._autoscaler.next_at, self._look)
        while coming or len(self._ended) < len(requests) or self._has_until(until_s):
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

    def _has_until(self, until_s: float) -> bool:
        return bool(self._events) and self._events[0][0] <= until_s

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happen))

    def _add(self, now: float, ready_at: float) -> None:
        replica = Replica(
            len(self._replicas), self._make(), Device(self._hardware, self._rng),
            created_at=now, ready_at=ready_at, slo_s=self._slo_s,
        )  # fmt: skip
        self._replicas.append(replica)
        if ready_at <= now:
            self._ready.append(replica)
        else:
            self._at(ready_at, lambda _: None if replica.leaving else self._ready.append(replica))

    def _arrive(self, request: Waiting, now: float) -> None:
        load = [replica.outstanding for replica in self._ready]
        replica = self._ready[self._balancer(load, self._turn, self._rng)]
        self._turn += 1
        retry_after_s = replica.dispatcher.admit(request, replica.device.slots(), now)
        if retry_after_s is not None:
            self._refused(request, retry_after_s, now)
            return
        replica.waiting[request.number] = request
        if self._hardware.host_s:
            replica.dispatcher.host.add(request)
        else:
            replica.dispatcher.wait(request, now)
        self._decide(replica, now)

    def _refused(self, request: Waiting, retry_after_s: float, now: float) -> None:
        first, attempt = self._attempts.get(request.number, (request, 1))
        again = None
        if self._callers is not None:
            again = self._callers.returning(
                first, attempt=attempt, now=now, retry_after_s=retry_after_s, rng=self._rng
            )
        if again is None:
            self._end(Ending(request, Fate.REFUSED, now, retry_after_s=retry_after_s))
            return
        self._attempts[request.number] = (first, attempt + 1)
        self._at(again.arrived, lambda time: self._arrive(again, time))

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
        if number in self._attempts:
            first, attempts = self._attempts.pop(number)
            ending = replace(ending, request=first, attempts=attempts)
        self._ended[number] = ending

    def _look(self, now: float) -> None:
        assert self._autoscaler is not None
        there = [replica for replica in self._replicas if not replica.leaving]
        wanted = self._autoscaler.look(there, now)
        for _ in range(wanted - len(there)):
            self._add(now, now + self._autoscaler.start.ready_s)
        # Those that are not ready yet go first, then the youngest, as a ReplicaSet ends them.
        for replica in sorted(there, key=lambda r: -r.ready_at)[: max(0, len(there) - wanted)]:
            replica.leaving = True
            replica.gone_at = None if replica.outstanding else now
            if replica in self._ready:
                self._ready.remove(replica)
        if wanted != len(there):
            self._counts.append((now, wanted))
        self._at(self._autoscaler.next_at, self._look)

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
