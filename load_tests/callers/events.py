"""What became of each film: one JSON line, in the order in which they were settled."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Outcome(StrEnum):
    """What a film came to in the end."""

    ANSWERED = "answered"
    REFUSED = "refused"  # 429, RESOURCE_EXHAUSTED
    UNREADY = (
        "unready"  # 502, 503, UNAVAILABLE: nobody there who could answer, and somebody said so
    )
    LATE = "late"  # 504, DEADLINE_EXCEEDED, said by the service
    FAILED = "failed"  # any other status
    LOST = "lost"  # the connection broke, or nothing came in all the time the caller waits
    WRONG = "wrong"  # an answer that is not this film's, or not one at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One film.

    Attributes:
        at: when it was due, in s since 1970; a schedule decides that, not the service.
        caller: kind of caller, see `kinds.py`.
        priority: stat, urgent or routine.
        protocol: http, grpc or oip.
        outcome: see `Outcome`.
        status: HTTP's, or that which stands for a gRPC code; 0: no answer came.
        latency_ms: from `at` until the whole answer was there, or until it was given up.
        lag_ms: how much later than `at` the load generator sent it first.
        in_time: answered, and within its deadline.
        belongs: the answer is this film's; None: there was no answer to check.
        retries: why it was sent again, each time: refused, unready or broken.
        why: what was wrong, if it was not answered.
        request: the id that was sent with it.
        image: number of the image in `films.json`.
        attempts: when it was sent, each time, in s since 1970.
        digests: model → digest of the package that answered; empty: there was no answer.
    """

    at: float
    caller: str
    priority: str
    protocol: str
    outcome: Outcome
    status: int
    latency_ms: float
    lag_ms: float
    in_time: bool
    belongs: bool | None
    retries: tuple[str, ...]
    why: str
    request: str
    image: int
    attempts: tuple[float, ...]
    digests: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """JSON, with the line's end."""
        told: dict[str, Any] = asdict(self)
        for name in ("at", "latency_ms", "lag_ms"):
            told[name] = round(told[name], 3)
        told["attempts"] = [round(when, 3) for when in self.attempts]
        return json.dumps(told) + "\n"


def read(file: Path) -> list[Event]:
    """All events of a file, by when they were due.

    Raises:
        ValueError: a line is no event.
    """
    with file.open(encoding="utf-8") as lines:
        return sorted((event_of(line) for line in lines), key=lambda event: event.at)


def event_of(line: str) -> Event:
    """The event that a line tells.

    Raises:
        ValueError: it is none.
    """
    try:
        told = json.loads(line)
        told["outcome"] = Outcome(told["outcome"])
        told["retries"], told["attempts"] = tuple(told["retries"]), tuple(told["attempts"])
        return Event(**told)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {line[:80]!r} ({error})") from None


def counted(events: Iterable[Event]) -> dict[str, int]:
    """How many came to what; every outcome is named."""
    found = dict.fromkeys((str(one) for one in Outcome), 0)
    for event in events:
        found[event.outcome] += 1
    return found
