"""The few PromQL queries that autoscalers ask here, understood and evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cxrserve.simulation.autoscaling.quantities import seconds

SERIES = {
    "cxrserve_demanded_seconds_total": "demanded_s",
    "cxrserve_busy_seconds_total": "busy_s",
    "cxrserve_expected_wait_seconds": "expected_wait_s",
    "cxrserve_queue_requests": "waiting",
    "cxrserve_processors": "processors",
    "cxrserve_slo_seconds": "slo_s",
}
"""Metrics of docs/metrics.md that a simulated replica shows, and what they are in `Readings`."""

Function = Literal["rate", "max_over_time"]


@dataclass(frozen=True, slots=True)
class Query:
    """`function(series[window_s])`, over `divisor` where there is one; the names of `Readings`."""

    function: Function
    series: str
    window_s: float
    divisor: str | None = None


def adapter_query(series_query: str, metrics_query: str) -> Query:
    """What a rule of prometheus-adapter asks, its template filled in.

    Raises:
        ValueError: the simulator does not know such a query.
    """
    series = series_query.partition("{")[0]
    return query_of(series, metrics_query.replace("<<.Series>>", series))


def query_of(name: str, promql: str) -> Query:
    """What a query computes for each pod.

    Raises:
        ValueError: the simulator does not know such a query.
    """
    plain = re.sub(r"\s+", "", re.sub(r"\{[^}]*\}", "", promql))
    found = re.findall(r"(rate|max_over_time)\((\w+)\[(\w+)\]\)", plain)
    named = re.findall(r"\bcxrserve_\w+", plain)
    divisors = named[1:]
    if (
        len(found) != 1
        or found[0][1] != named[0]
        or not set(named) <= set(SERIES)
        or len(divisors) != plain.count("/")
        or len(divisors) > 1
    ):
        raise ValueError(
            f"the query of {name} is not simulated: {promql!r}; known are rate and max_over_time "
            f"of one of {', '.join(SERIES)}, divided by another"
        )
    function, series, window = found[0]
    return Query(
        "rate" if function == "rate" else "max_over_time",
        SERIES[series],
        seconds(window),
        SERIES[divisors[0]] if divisors else None,
    )
