"""How the Tritons do that run networks for us, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from cxrserve.triton.cluster import Cluster

_STATES = ("closed", "open", "half_open")


def triton_families(cluster: Cluster | None) -> Iterator[Metric]:
    """The metrics of all endpoints; none where no Triton is asked."""
    if cluster is None:
        return
    state = GaugeMetricFamily(
        "cxrserve_triton_circuit",
        "1 for the state that an endpoint's circuit is in; requests go through a closed one",
        labels=["endpoint", "state"],
    )
    opened = CounterMetricFamily(
        "cxrserve_triton_circuit_opened", "Times a circuit has opened", labels=["endpoint"]
    )
    running = GaugeMetricFamily(
        "cxrserve_triton_batches", "Batches an endpoint has not answered yet", labels=["endpoint"]
    )
    refused = GaugeMetricFamily(
        "cxrserve_triton_refused_models",
        "1 for a model that is not asked there: it is missing, or another than the package",
        labels=["endpoint", "model"],
    )
    for endpoint in cluster.endpoints:
        for name in _STATES:
            state.add_metric([endpoint.address, name], endpoint.circuit.state == name)
        opened.add_metric([endpoint.address], endpoint.circuit.opened)
        running.add_metric([endpoint.address], endpoint.in_flight)
        for model in endpoint.refused:
            refused.add_metric([endpoint.address, model], 1)
    yield from (state, opened, running, refused)
    hedged = CounterMetricFamily(
        "cxrserve_triton_hedged_batches", "Batches that a second endpoint was asked for as well"
    )
    hedged.add_metric([], cluster.hedged)
    yield hedged
