"""What replicas are scaled by, as Prometheus metrics.

What processors do ends at all they can, and what waits says nothing until it is too late. What
is demanded of them goes on beyond: it says at once how many replicas a load needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The load of one replica.

    Attributes:
        processors: threads for decoding and networks.
        busy_s: seconds they have worked, together, since the start.
        demanded_s: seconds of one that all requests that came would take, since the start.
        slo_s: within which an answer is due where the request names no deadline.
        waits_s: by model, what a routine request that came now would wait.
    """

    processors: int
    busy_s: float
    demanded_s: float
    slo_s: float
    waits_s: Mapping[str, float]


def scaling_families(scaling: Scaling | None) -> Iterator[Metric]:
    """The metrics of a replica; none until it is ready."""
    if scaling is None:
        return
    processors = GaugeMetricFamily(
        "cxrserve_processors", "Threads for decoding and networks", value=scaling.processors
    )
    busy = CounterMetricFamily(
        "cxrserve_busy_seconds", "Seconds that they have worked, together", value=scaling.busy_s
    )
    demanded = CounterMetricFamily(
        "cxrserve_demanded_seconds",
        "Seconds of one that all requests that came would take, the refused as well",
        value=scaling.demanded_s,
    )
    slo = GaugeMetricFamily(
        "cxrserve_slo_seconds", "Time for an answer where none is asked for", value=scaling.slo_s
    )
    waits = GaugeMetricFamily(
        "cxrserve_expected_wait_seconds",
        "What a routine request that came now would wait",
        labels=["model"],
    )
    for model, wait_s in scaling.waits_s.items():
        waits.add_metric([model], wait_s)
    yield from (processors, busy, demanded, slo, waits)
