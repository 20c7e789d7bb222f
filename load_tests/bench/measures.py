"""What is said of many requests: rates, percentiles, goodput. Pure arithmetic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum


class Fate(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"  # 200
    REFUSED = "refused"  # 429 or 503: come back later
    FAILED = "failed"  # any other status, or what is no HTTP
    DROPPED = "dropped"  # the connection ended before the answer did
    GIVEN_UP = "given_up"  # no answer within the client's patience


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: what became of it, after how long, and when that was.

    Attributes:
        latency_s: seconds from when it was due to be sent (not from when it was) to its end.
        ended_s: seconds from the start of the measurement to its end.
    """

    fate: Fate
    latency_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A measurement in figures; latencies in ms, None where nothing was answered (or refused).

    Attributes:
        offered_rate: requests a second that were due (open loop) or sent (closed loop).
        answered_rate: answers a second.
        goodput_rate: answers a second that came within the SLO.
        goodput_share: those answers, as a share of all requests.
        refusal_p99_ms: how fast a refusal was.
    """

    requests: int
    answered: int
    refused: int
    failed: int
    dropped: int
    given_up: int
    offered_rate: float
    answered_rate: float
    goodput_rate: float
    goodput_share: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    refusal_p99_ms: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For the result file."""
        return asdict(self)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank).

    No interpolation: what is quoted as p99 was seen by somebody. None where there are no values.
    """
    if not values:
        return None
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile lies in 0 < p <= 100, not {percent}")
    # Rounded first: 99 % of 1100 is 1089.0000000000002 in floating point.
    rank = math.ceil(round(percent / 100 * len(values), 9))
    return sorted(values)[max(rank, 1) - 1]


def summarise(outcomes: Iterable[Outcome], *, window_s: float, slo_ms: float) -> Summary:
    """The figures of a measurement.

    Args:
        outcomes: every request, however it ended.
        window_s: seconds that rates are over.
        slo_ms: an answer after this many ms is no goodput.
    """
    outcomes = list(outcomes)
    counts = {fate: sum(one.fate is fate for one in outcomes) for fate in Fate}
    answered_ms = [one.latency_s * 1e3 for one in outcomes if one.fate is Fate.ANSWERED]
    refused_ms = [one.latency_s * 1e3 for one in outcomes if one.fate is Fate.REFUSED]
    good = sum(latency <= slo_ms for latency in answered_ms)
    return Summary(
        requests=len(outcomes),
        answered=counts[Fate.ANSWERED],
        refused=counts[Fate.REFUSED],
        failed=counts[Fate.FAILED],
        dropped=counts[Fate.DROPPED],
        given_up=counts[Fate.GIVEN_UP],
        offered_rate=len(outcomes) / window_s,
        answered_rate=len(answered_ms) / window_s,
        goodput_rate=good / window_s,
        goodput_share=good / len(outcomes) if outcomes else 0.0,
        p50_ms=percentile(answered_ms, 50),
        p90_ms=percentile(answered_ms, 90),
        p99_ms=percentile(answered_ms, 99),
        max_ms=max(answered_ms, default=None),
        refusal_p99_ms=percentile(refused_ms, 99),
    )


def median_of(rounds: Sequence[Summary]) -> Summary:
    """Figure by figure the median of several rounds; a round without a figure is left out of it."""
    medians: dict[str, float | None] = {}
    for field in fields(Summary):
        seen = [value for one in rounds if (value := getattr(one, field.name)) is not None]
        medians[field.name] = statistics.median(seen) if seen else None
    return Summary(**medians)  # type: ignore[arg-type]
