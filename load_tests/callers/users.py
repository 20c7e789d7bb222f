# mypy: disable-error-code="import-untyped,import-not-found,misc,untyped-decorator"
"""Locust's users, one class for each kind of caller.

A user sends when its own Poisson process says so, whether or not the answer to what it sent before
is there: an open loop, in which a slow service is not spared. Only a back-fill waits for its batch.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import gevent
import numpy as np
from locust import User, task

from load_tests.callers.came import Came
from load_tests.callers.events import Outcome
from load_tests.callers.films import Film
from load_tests.callers.grpc_wire import OipWire, TypedWire
from load_tests.callers.http_wire import BatchLine, HttpWire, Terms
from load_tests.callers.kinds import BATCH, KINDS, STAT_BURST, STAT_SHARE, URGENT_SHARE
from load_tests.callers.patience import Patience
from load_tests.callers.plan import Plan
from load_tests.callers.settled import Due, asked, checked

GRACE_S = 5.0
"""How much longer than its deadline a caller waits: the service ends what is late by itself, and a
caller who left at the deadline could not tell a late answer from a lost one."""


class Caller(User):
    """What all kinds have in common; `environment.plan` is set by `locustfile.py`."""

    abstract = True
    kind: ClassVar[str]
    _number = 0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.plan: Plan = environment.plan
        Caller._number += 1
        self.number = Caller._number
        self.rng = np.random.default_rng([self.plan.seed, self.number])
        self.patience = Patience(total_s=self.plan.retry_s)
        self.films: list[Film] = [
            one for one in self.plan.films if one.kind in KINDS[self.kind].images
        ]
        self._next = time.monotonic()

    def on_start(self) -> None:
        """Before the first arrival there is a pause as before any other."""
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds until the next arrival; a schedule that fell behind catches up."""
        self._next += self.gap_s()
        return max(0.0, self._next - time.monotonic())

    def gap_s(self) -> float:
        """Seconds between two arrivals: exponential, thinned to what the time of day leaves over
        (Lewis and Shedler 1979)."""
        busiest, gap = self.plan.shape.busiest(self.kind), 0.0
        while True:
            gap += float(self.rng.exponential(1 / (self.arrivals_rate() * busiest)))
            at_s = self._next + gap - self.plan.started
            if self.rng.random() * busiest < self.plan.shape.activity(self.kind, at_s):
                return gap

    def arrivals_rate(self) -> float:
        """Arrivals a second of one user of this kind, on average."""
        return self.plan.rate_of_one(self.kind)

    @task
    def _arrive(self) -> None:
        # Locust would run a task of a kind besides this one, not instead.
        self.arrive()

    def arrive(self) -> None:
        """One arrival."""
        self.send(self.some_film(), self.some_priority())

    def send(self, film: Film, priority: str) -> None:
        """Ask about a film, without waiting for what comes of it."""
        self.plan.spawn(self._settle, self.due(film, priority))

    def due(self, film: Film, priority: str) -> Due:
        """A film that is due now, as the schedule says."""
        self.plan.unsettled += 1
        return Due(
            at=self._next,
            caller=self.kind,
            protocol=KINDS[self.kind].protocol,
            film=film,
            priority=priority,
            deadline_ms=KINDS[self.kind].deadlines_ms[priority],
            request=str(uuid.UUID(bytes=self.rng.bytes(16), version=4)),
        )

    def some_film(self) -> Film:
        """Any film that this kind sends."""
        number = int(self.rng.integers(len(self.films)))
        return self.films[number]

    def some_priority(self) -> str:
        """Urgent or routine, where this kind knows both."""
        knows = KINDS[self.kind].deadlines_ms
        return "urgent" if "urgent" in knows and self.rng.random() < URGENT_SHARE else "routine"

    def predict(self, due: Due) -> Came:
        """One attempt."""
        raise NotImplementedError

    def _settle(self, due: Due) -> None:
        self.plan.settle(due, asked(due, self.predict, self.patience, self.rng))


class HospitalUser(Caller):
    """A hospital: DICOM films around the clock, and now and then several stat ones at once."""

    kind = "hospital"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wire = HttpWire(self.plan.host_of(self.number))

    def arrivals_rate(self) -> float:
        """A burst is one arrival."""
        return super().arrivals_rate() / (1 + self._bursts() * (STAT_BURST - 1))

    def arrive(self) -> None:
        """One film, or a burst."""
        if self.rng.random() >= self._bursts():
            super().arrive()
            return
        for _ in range(STAT_BURST):
            self.send(self.some_film(), "stat")

    def predict(self, due: Due) -> Came:
        """See `Caller`."""
        return self._wire.predict(due.film, terms_of(due))

    def _bursts(self) -> float:
        """The share of arrivals that makes `STAT_SHARE` of the films stat."""
        return STAT_SHARE / (STAT_BURST * (1 - STAT_SHARE) + STAT_SHARE)


class TelemedicineUser(Caller):
    """A telemedicine portal: photographs of films, more of them by day."""

    kind = "telemedicine"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wire = HttpWire(self.plan.host_of(self.number))

    def predict(self, due: Due) -> Came:
        """See `Caller`."""
        return self._wire.predict(due.film, terms_of(due))


class GrpcUser(Caller):
    """An integrator who speaks `cxrserve.v1.Radiology`."""

    kind = "grpc"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wire = TypedWire(self.plan.grpc_of(self.number))

    def predict(self, due: Due) -> Came:
        """See `Caller`."""
        return self._wire.predict(due.film, terms_of(due))


class OipUser(Caller):
    """An integrator who speaks Triton's protocol."""

    kind = "oip"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wire = OipWire(self.plan.grpc_of(self.number))

    def predict(self, due: Due) -> Came:
        """See `Caller`."""
        return self._wire.predict(due.film, terms_of(due))


class BackFillUser(Caller):
    """An archive that is read again: batches, each at its pace or when the one before is settled.

    Films that are refused are sent again when the service said, whatever the other callers do.
    """

    kind = "back-fill"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wire = HttpWire(self.plan.host_of(self.number))
        longest_s = max(KINDS[self.kind].deadlines_ms.values()) / 1e3
        if self.plan.retry_s < longest_s:
            also = {"broken", "unready"} if self.plan.retry_s > 0 else set()
            self.patience = Patience(total_s=longest_s, reasons=frozenset({"refused", *also}))

    def arrivals_rate(self) -> float:
        """Batches a second."""
        return super().arrivals_rate() / BATCH

    def wait_time(self) -> float:
        """A batch that took longer than its pace puts off the next."""
        pause_s = super().wait_time()
        self._next = max(self._next, time.monotonic())
        return pause_s

    def arrive(self) -> None:
        """One batch, in a greenlet of its own so that the end of the load does not cut it short."""
        batch = [self.due(self.some_film(), "routine") for _ in range(BATCH)]
        self.plan.spawn(self._settle_all, batch).join()

    def _settle_all(self, batch: Sequence[Due]) -> None:
        open_ones, attempt = list(batch), 0
        while open_ones:
            attempt += 1
            open_ones, pause_s = self._one_attempt(open_ones, attempt)
            if open_ones:
                gevent.sleep(pause_s)

    def _one_attempt(self, films: Sequence[Due], attempt: int) -> tuple[list[Due], float]:
        """Films that are to be sent again, and after how many seconds."""
        batch_id = str(uuid.UUID(bytes=self.rng.bytes(16), version=4))
        terms = Terms(
            request=batch_id,
            priority="routine",
            deadline_ms=films[0].deadline_ms,
            limit_s=films[0].deadline_ms / 1e3 + GRACE_S,
        )
        for place, due in enumerate(films):
            due.request = f"{batch_id}.{place}"
            due.tried.append(time.monotonic())
        answered = _Lines(films)
        whole = self._wire.predict_batch([due.film for due in films], terms, answered.take)
        again: list[Due] = []
        longest_s = 0.0
        for place, due in enumerate(films):
            came = answered.of(place, whole)
            pause_s = self._pause_s(due, came, attempt)
            if pause_s is None:
                self.plan.settle(due, came, answered.at.get(place))
            else:
                again.append(due)
                longest_s = max(longest_s, pause_s)
        return again, longest_s

    def _pause_s(self, due: Due, came: Came, attempt: int) -> float | None:
        reason = self.patience.reason(came.outcome, silent=came.silent)
        if not reason:
            return None
        pause_s = self.patience.pause_s(
            attempt=attempt,
            retry_after_s=came.retry_after_s,
            spent_s=time.monotonic() - due.at,
            chance=self.rng.random(),
        )
        if pause_s is not None:
            due.retries.append(reason)
        return pause_s


class _Lines:
    """The lines of one batch: each film's, and whatever should not have come."""

    def __init__(self, films: Sequence[Due]) -> None:
        self._films = films
        self._came: dict[int, Came] = {}
        self._strange = ""
        self.at: dict[int, float] = {}
        """When each film's line came."""

    def take(self, line: BatchLine) -> None:
        """One line."""
        if not 0 <= line.index < len(self._films) or line.index in self._came:
            self._strange = line.came.why or f"a line of film {line.index}, which has none to come"
            return
        came = checked(self._films[line.index], line.came)
        if line.name != f"film-{line.index}":
            came = Came(outcome=Outcome.WRONG, status=200, why="a line under another film's name")
        self._came[line.index] = came
        self.at[line.index] = time.monotonic()

    def of(self, place: int, whole: Came) -> Came:
        """What a film came to."""
        if self._strange:
            return Came(outcome=Outcome.WRONG, status=200, why=self._strange)
        if place in self._came:
            return self._came[place]
        if whole.outcome is not Outcome.ANSWERED:
            return whole
        return Came(outcome=Outcome.LOST, status=0, why="the answer ended without a line of it")


def terms_of(due: Due) -> Terms:
    """How a film is asked about, at each attempt with the whole of its deadline: an answer that
    is late is worth more than none."""
    return Terms(
        request=due.request,
        priority=due.priority,
        deadline_ms=due.deadline_ms,
        limit_s=due.deadline_ms / 1e3 + GRACE_S,
    )


USERS: dict[str, type[Caller]] = {
    one.kind: one for one in (HospitalUser, TelemedicineUser, BackFillUser, GrpcUser, OipUser)
}
