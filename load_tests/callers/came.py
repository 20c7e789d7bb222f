"""What one attempt brought back, and the table from statuses to it."""

from __future__ import annotations

from dataclasses import dataclass

from load_tests.callers.checking import Seen
from load_tests.callers.events import Outcome

_OUTCOMES = {
    429: Outcome.REFUSED,
    502: Outcome.UNREADY,  # a proxy's, whose server went while it answered
    503: Outcome.UNREADY,
    504: Outcome.LATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What became of one attempt.

    Attributes:
        status: HTTP's, or that which stands for a gRPC code; 0: no answer came.
        seen: the answer, still to be held against its question.
        why: what was wrong.
        retry_after_s: what the service asked for.
        silent: nothing came, and the connection held.
    """

    outcome: Outcome
    status: int
    seen: Seen | None = None
    why: str = ""
    retry_after_s: float | None = None
    silent: bool = False


def outcome_of(status: int) -> Outcome:
    """What a status means for whoever asked."""
    if 200 <= status < 300:
        return Outcome.ANSWERED
    return _OUTCOMES.get(status, Outcome.FAILED)


def broken(what: str) -> Came:
    """The connection ended before the answer did, or was never made."""
    return Came(outcome=Outcome.LOST, status=0, why=what)


def silent(limit_s: float) -> Came:
    """Nothing came for as long as the caller waits."""
    why = f"nothing came in {limit_s:.1f} s"
    return Came(outcome=Outcome.LOST, status=0, why=why, silent=True)
