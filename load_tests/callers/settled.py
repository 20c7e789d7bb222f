# mypy: disable-error-code="import-untyped"
"""From a film that is due to the line that says what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import numpy as np

from load_tests.callers.came import Came
from load_tests.callers.checking import fault_of
from load_tests.callers.events import Event, Outcome
from load_tests.callers.films import Film
from load_tests.callers.patience import Patience

_STARTED = time.time() - time.monotonic()


@dataclass(slots=True, kw_only=True)
class Due:
    """A film that is to be asked about.

    Attributes:
        at: when, by the monotonic clock.
        request: the id that goes with it.
        tried: when it was sent, each time, by the same clock.
        retries: why it was sent again.
    """

    at: float
    caller: str
    protocol: str
    film: Film
    priority: str
    deadline_ms: float
    request: str
    tried: list[float] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)


def checked(due: Due, came: Came) -> Came:
    """The same, but wrong where it answers another question."""
    if came.seen is None or came.outcome is not Outcome.ANSWERED:
        return came
    # Each by itself: one release's digest with another's probabilities is neither's answer.
    fault, *others = (
        fault_of(came.seen, request=due.request, expected=expected)
        for expected in (due.film.expected, *due.film.alternatives)
    )
    if not fault or "" in others:
        return came
    return Came(outcome=Outcome.WRONG, status=came.status, seen=came.seen, why=fault)


def asked(
    due: Due, ask: Callable[[Due], Came], patience: Patience, rng: np.random.Generator
) -> Came:
    """Ask until there is an answer, or patience ends; what came last."""
    while True:
        due.tried.append(time.monotonic())
        came = checked(due, ask(due))
        reason = patience.reason(came.outcome, silent=came.silent)
        if not reason:
            return came
        pause_s = patience.pause_s(
            attempt=len(due.tried),
            retry_after_s=came.retry_after_s,
            spent_s=time.monotonic() - due.at,
            chance=rng.random(),
        )
        if pause_s is None:
            return came
        due.retries.append(reason)
        gevent.sleep(pause_s)


def event_of(due: Due, came: Came, now: float) -> Event:
    """The event of a film that was settled at `now`."""
    latency_ms = (now - due.at) * 1e3
    belongs = None
    if came.outcome in (Outcome.ANSWERED, Outcome.WRONG):
        belongs = came.outcome is Outcome.ANSWERED
    return Event(
        at=_STARTED + due.at,
        caller=due.caller,
        priority=due.priority,
        protocol=due.protocol,
        outcome=came.outcome,
        status=came.status,
        latency_ms=latency_ms,
        lag_ms=(due.tried[0] - due.at) * 1e3 if due.tried else 0.0,
        in_time=came.outcome is Outcome.ANSWERED and latency_ms <= due.deadline_ms,
        belongs=belongs,
        retries=tuple(due.retries),
        why=came.why,
        request=due.request,
        image=due.film.number,
        attempts=tuple(_STARTED + when for when in due.tried),
        digests=dict((came.seen.digests if came.seen else None) or {}),
    )
