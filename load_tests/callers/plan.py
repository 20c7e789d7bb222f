# mypy: disable-error-code="import-untyped"
"""What one run of Locust is to do, as all of its users see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.pool import Group

from load_tests.callers.came import Came
from load_tests.callers.events import Event
from load_tests.callers.films import Film
from load_tests.callers.kinds import KINDS
from load_tests.callers.settled import Due, event_of
from load_tests.callers.shape import Shape

POPULATION = 25
"""Users at level 1, so that the smallest share still has two."""


class Plan:
    """A run: its load, its addresses, and where what comes of it is written.

    Args:
        shape: of the load.
        rate: films a second at level 1, of all callers.
        callers: the kinds that take part; the rate is divided among them.
        films: asked about, each with what is expected.
        hosts, grpc: addresses, of which each user takes one.
        retry_s: see `patience.Patience`.
        seed: of all arrivals and choices.
        record: called with each event.
    """

    def __init__(
        self,
        *,
        shape: Shape,
        rate: float,
        callers: Sequence[str],
        films: Sequence[Film],
        hosts: Sequence[str],
        grpc: Sequence[str],
        retry_s: float,
        seed: int,
        record: Callable[[Event], None],
    ) -> None:
        self.shape, self.films, self.retry_s, self.seed = shape, films, retry_s, seed
        self._rate = rate
        self.started = time.monotonic()
        self.is_over = False
        self._hosts, self._grpc, self._record = hosts, grpc, record
        self._in_flight = Group()
        whole = sum(KINDS[name].share for name in callers)
        self._shares = {name: KINDS[name].share / whole for name in callers}
        self.users = {
            name: max(1, round(share * POPULATION)) for name, share in self._shares.items()
        }
        """Kind → users at level 1."""
        self.unsettled = 0
        """Films that were due and are not settled."""

    def rate_of_one(self, kind: str) -> float:
        """Films a second that one user of a kind sends on average."""
        return self._rate * self._shares[kind] / self.users[kind]

    def users_at(self, at_s: float) -> int:
        """Users of all kinds at a time, in s from the start."""
        return max(1, round(sum(self.users.values()) * self.shape.level(at_s)))

    def host_of(self, number: int) -> str:
        """The address that user asks over HTTP."""
        return self._hosts[number % len(self._hosts)]

    def grpc_of(self, number: int) -> str:
        """The address that user asks over gRPC."""
        return self._grpc[number % len(self._grpc)]

    def end(self) -> None:
        """Begin with no more films; those that are in hand are settled."""
        self.is_over = True

    def spawn(self, work: Callable[..., None], *arguments: Any) -> gevent.Greenlet:
        """Do work that the end of the load waits for."""
        return self._in_flight.spawn(work, *arguments)

    def settle(self, due: Due, came: Came, at: float | None = None) -> None:
        """Write what a film came to, at a time of the monotonic clock, or now."""
        self._record(event_of(due, came, time.monotonic() if at is None else at))
        self.unsettled -= 1

    def wait(self, limit_s: float) -> None:
        """Wait until all films are settled, but no longer than this; see `unsettled`."""
        self._in_flight.join(timeout=limit_s)
