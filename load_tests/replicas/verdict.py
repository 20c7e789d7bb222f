"""Was anything lost, wrong, or repeated without an excuse? From what callers and HAProxy wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from load_tests.bench.measures import percentile
from load_tests.callers.events import Event, Outcome
from load_tests.replicas.passages import Passage, served
from load_tests.replicas.releases import MODEL
from load_tests.replicas.scenarios import Excuse, Played

# Clocks are the same; writing is not at once.
_SLACK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A scenario in figures; latencies in ms, of what was answered.

    Attributes:
        sent: films.
        outcomes: what each came to, after all its attempts.
        retried: films that were sent more than once by their caller, by the reason.
        wrong: answers that were not their film's.
        late: answered after their deadline.
        served: replica → requests that it answered (HAProxy's count).
        replayed: requests that HAProxy sent more than once.
        versions: version → films that it answered.
    """

    sent: int
    outcomes: dict[str, int]
    retried: dict[str, int]
    wrong: int
    late: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    served: dict[str, int]
    replayed: int
    versions: dict[str, int]
    faults: list[str] = field(default_factory=list)


def figures_of(
    events: Sequence[Event],
    passages: Sequence[Passage],
    played: Played,
    *,
    versions: Mapping[str, str],
    serving: str,
) -> Figures:
    """The figures, and what is wrong with them.

    Args:
        versions: digest → version.
        serving: the version that all replicas serve, where there is no upgrade.
    """
    answered_ms = [one.latency_ms for one in events if one.outcome is Outcome.ANSWERED]
    return Figures(
        sent=len(events),
        outcomes=dict(Counter(str(one.outcome) for one in events)),
        retried=dict(Counter(reason for one in events for reason in set(one.retries))),
        wrong=sum(one.belongs is False for one in events),
        late=sum(one.outcome is Outcome.ANSWERED and not one.in_time for one in events),
        p50_ms=percentile(answered_ms, 50),
        p99_ms=percentile(answered_ms, 99),
        max_ms=max(answered_ms, default=None),
        served=served(passages),
        replayed=sum(one.sent_again > 0 for one in passages),
        versions=dict(Counter(versions.get(one.digests.get(MODEL, ""), "none") for one in events)),
        faults=[
            *_losses(events),
            *_unexcused(events, played.excuses),
            *_broken_elsewhere(passages, played.excuses),
            *_strangers(events, played, versions, serving),
        ],
    )


def _losses(events: Sequence[Event]) -> list[str]:
    """Films without an answer, or with another's."""
    found = Counter(
        (str(one.outcome), one.protocol, one.why)
        for one in events
        if one.outcome is not Outcome.ANSWERED
    )
    return [
        f"{number} {protocol} {outcome}: {why}"
        for (outcome, protocol, why), number in found.items()
    ]


def _unexcused(events: Sequence[Event], excuses: Sequence[Excuse]) -> list[str]:
    """Films that had to be sent again although nothing was done to any replica at that time."""
    found: Counter[tuple[str, str]] = Counter()
    for event in events:
        ends = [*event.attempts[1:], event.at + event.latency_ms / 1e3]
        for reason, begun, ended in zip(event.retries, event.attempts, ends, strict=False):
            excused = any(
                begun <= one.until + _SLACK_S and one.since - _SLACK_S <= ended for one in excuses
            )
            found[reason, event.protocol] += not excused
    return [
        f"{number} {protocol} sent again without an excuse: {reason}"
        for (reason, protocol), number in found.items()
        if number
    ]


def _broken_elsewhere(passages: Sequence[Passage], excuses: Sequence[Excuse]) -> list[str]:
    """Requests that broke at a replica that was left alone.

    HAProxy writes nothing of a request that broke on a connection that had been used before: it
    ends the caller's as well, who is to ask again (RFC 9112, 9.3.1).
    """
    found = Counter(
        one.replica
        for one in passages
        if one.broke
        and not any(
            excuse.replica == one.replica
            and excuse.since - _SLACK_S <= one.at <= excuse.until + _SLACK_S
            for excuse in excuses
        )
    )
    return [f"{number} broke at {replica}, left alone" for replica, number in found.items()]


def _strangers(
    events: Sequence[Event], played: Played, versions: Mapping[str, str], serving: str
) -> list[str]:
    """Answers of a version that nobody serves at that time."""
    found: Counter[str] = Counter()
    for event in events:
        if event.outcome is not Outcome.ANSWERED:
            continue
        version, change = versions.get(event.digests.get(MODEL, ""), "none"), played.upgrade
        if change is None:
            fits = version == serving
        else:
            old = version == change.old and event.attempts[-1] <= change.last + _SLACK_S
            ended = event.at + event.latency_ms / 1e3
            fits = old or (version == change.new and ended >= change.first)
        found[version] += not fits
    return [
        f"{number} answered by {one} out of its time" for one, number in found.items() if number
    ]
