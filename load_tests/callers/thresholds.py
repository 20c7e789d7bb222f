"""What must hold, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from load_tests.bench.measures import percentile
from load_tests.callers.events import Event, Outcome, counted

ALWAYS_NONE = frozenset({Outcome.LOST, Outcome.WRONG})
"""A run with one of these has failed, whatever its shape says."""

_PERCENTILES = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
_KNOWN = (*_PERCENTILES, "in_time", "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Limits for some of the films.

    Attributes:
        who: `all`, a caller (`hospital`), or a caller's films of one priority (`hospital stat`).
        within: the part of the run that counts, as shares of it.
        limits: `p50_ms`, `p95_ms`, `p99_ms` of the answers, which may be no more; `in_time`, the
            share of the films that was answered by its deadline, which may be no less; `refused`,
            the share refused or ended as late, which may be no more.
    """

    who: str
    limits: dict[str, float]
    within: tuple[float, float] = (0.0, 1.0)

    def covers(self, event: Event, begin: float, seconds: float) -> bool:
        """This film counts; `begin` in s since 1970, `seconds` the run's length."""
        if self.who not in ("all", event.caller, f"{event.caller} {event.priority}"):
            return False
        share, (first, last) = (event.at - begin) / seconds, self.within
        # Locust ends a load up to a second late; what came then is of the run.
        return share >= first and (share <= last or last == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One limit, held against what was seen; `seen` None: there was nothing to see, which fails."""

    what: str
    limit: float
    seen: float | None
    holds: bool
    films: int
    within: tuple[float, float] = (0.0, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        seen = "nothing" if self.seen is None else f"{self.seen:g}"
        part = (
            "" if self.within == (0.0, 1.0) else f", from {self.within[0]:g} to {self.within[1]:g}"
        )
        held = "ok  " if self.holds else "FAIL"
        return f"{held} {self.what}: {seen}, limit {self.limit:g} ({self.films} films{part})"


def threshold_of(told: dict[str, Any]) -> Threshold:
    """One entry of a shape's YAML.

    Raises:
        ValueError: it names a limit that is not known, or none.
    """
    limits = {name: float(value) for name, value in told.items() if name not in ("who", "within")}
    unknown = sorted(limits.keys() - set(_KNOWN))
    if unknown or not limits:
        raise ValueError(f"a threshold has limits of {', '.join(_KNOWN)}, not {unknown or 'none'}")
    begin, end = told.get("within", (0.0, 1.0))
    return Threshold(who=str(told["who"]), limits=limits, within=(float(begin), float(end)))


def judge(
    events: Sequence[Event],
    thresholds: Sequence[Threshold],
    *,
    allows: frozenset[Outcome],
    begin: float,
    seconds: float,
) -> list[Verdict]:
    """Hold a run against its thresholds.

    Args:
        events: all of it.
        allows: outcomes that may happen besides answers; any other fails the run.
        begin: when it began, in s since 1970.
        seconds: how long it was meant to last.
    """
    verdicts = [_that_there_are_some(events)]
    verdicts += [
        Verdict(what=str(outcome), limit=0, seen=count, holds=count == 0, films=len(events))
        for outcome, count in ((one, counted(events)[one]) for one in Outcome)
        if outcome is not Outcome.ANSWERED and outcome not in allows - ALWAYS_NONE
    ]
    for threshold in thresholds:
        covered = [event for event in events if threshold.covers(event, begin, seconds)]
        verdicts += [_verdict(threshold, name, covered) for name in threshold.limits]
    return verdicts


def _that_there_are_some(events: Sequence[Event]) -> Verdict:
    answered = counted(events)[Outcome.ANSWERED]
    return Verdict(
        what="answered at all", limit=1, seen=answered, holds=answered > 0, films=len(events)
    )


def _verdict(threshold: Threshold, name: str, events: Sequence[Event]) -> Verdict:
    seen, limit = figure(name, events), threshold.limits[name]
    holds = seen is not None and (seen >= limit if name == "in_time" else seen <= limit)
    return Verdict(
        what=f"{threshold.who} {name}",
        limit=limit,
        seen=None if seen is None else round(seen, 4),
        holds=holds,
        films=len(events),
        within=threshold.within,
    )


def figure(name: str, events: Sequence[Event]) -> float | None:
    """A figure that thresholds may limit, of some films; None where there are none."""
    if name in _PERCENTILES:
        answered = [one.latency_ms for one in events if one.outcome is Outcome.ANSWERED]
        return percentile(answered, _PERCENTILES[name])
    if not events:
        return None
    if name == "in_time":
        return sum(one.in_time for one in events) / len(events)
    turned_away = (Outcome.REFUSED, Outcome.UNREADY, Outcome.LATE)
    return sum(one.outcome in turned_away for one in events) / len(events)
