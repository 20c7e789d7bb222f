"""Which models are loaded, and whether what runs them can, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cxrserve.batching.model_queue import ModelQueue
from cxrserve.models.repository import LoadedModel


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model, the queue in front of its engine, and that of what stands in for it."""

    model: LoadedModel
    queue: ModelQueue
    stand_in: ModelQueue | None

    @property
    def queues(self) -> tuple[ModelQueue, ...]:
        """Both."""
        return (self.queue,) if self.stand_in is None else (self.queue, self.stand_in)


def model_families(served: Sequence[Served], *, left_out: int) -> Iterator[Metric]:
    """The metrics of all models.

    Args:
        left_out: packages that could not be served.
    """
    info = GaugeMetricFamily(
        "cxrserve_model_info",
        "1 for each loaded model",
        labels=["model", "digest", "engine", "precision"],
    )
    available = GaugeMetricFamily(
        "cxrserve_engine_available",
        "1 while the engine may be asked",
        labels=["model", "engine"],
    )
    stand_in = GaugeMetricFamily(
        "cxrserve_stand_in_used",
        "1 while the engine here answers in Triton's place",
        labels=["model"],
    )
    for one in served:
        name, engine = one.model.full_name, one.queue.engine
        info.add_metric([name, one.model.package.digest, engine.name, engine.precision], 1)
        for queue in one.queues:
            available.add_metric([name, queue.engine.name], queue.is_available)
        if one.stand_in is not None:
            stand_in.add_metric([name], not one.queue.is_available)
    yield from (info, available, stand_in)
    refused = GaugeMetricFamily(
        "cxrserve_packages_refused", "Packages in the models folder that could not be served"
    )
    refused.add_metric([], left_out)
    yield refused
