"""When a film is sent again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

from load_tests.callers.events import Outcome

_FIRST_S = 0.2
_LONGEST_S = 2.0
_MOST_JITTER_S = 1.0

_WORTH_ANOTHER = {
    Outcome.REFUSED: "refused",
    Outcome.UNREADY: "unready",
    Outcome.LOST: "broken",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a caller takes it that he got no answer.

    Attributes:
        total_s: no attempt begins later than this after the film was due; 0: there is only one.
        reasons: of `Event.retries`, those for which this caller asks again.
    """

    total_s: float = 0.0
    reasons: frozenset[str] = frozenset(_WORTH_ANOTHER.values())

    def reason(self, outcome: Outcome, *, silent: bool = False) -> str:
        """Why this outcome is worth another attempt; empty: it is not.

        Args:
            silent: the connection held and nothing came, which may be the image's fault.
        """
        reason = "" if silent else _WORTH_ANOTHER.get(outcome, "")
        return reason if reason in self.reasons else ""

    def pause_s(
        self, *, attempt: int, retry_after_s: float | None, spent_s: float, chance: float
    ) -> float | None:
        """Seconds until the next attempt; None: it would be too late.

        Args:
            attempt: how many there were, from 1.
            retry_after_s: what the service asked for; never is it less.
            spent_s: since the film was due.
            chance: in 0..1, spreads callers that were refused together.
        """
        asked_s = retry_after_s or min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt - 1, 32))
        pause_s = asked_s + chance * min(_MOST_JITTER_S, asked_s / 4)
        return pause_s if spent_s + pause_s <= self.total_s else None
