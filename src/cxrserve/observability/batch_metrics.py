"""What the batcher does, as Prometheus metrics: read off its queues at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cxrserve.batching.model_queue import ModelQueue


def families_of(served: tuple[Sequence[tuple[str, ModelQueue]], int]) -> Iterator[Metric]:
    """The metrics of all queues.

    Args:
        served: each model as `name@version` with its queue, and how many requests were refused.
    """
    queues, refused = served
    turned_away = CounterMetricFamily(
        "cxrserve_batcher_refused", "Requests refused because they could not be in time"
    )
    turned_away.add_metric([], refused)
    yield turned_away
    waiting = GaugeMetricFamily(
        "cxrserve_queue_requests", "Requests that wait", labels=["model", "engine", "class"]
    )
    batches = CounterMetricFamily(
        "cxrserve_batches", "Batches that ran, by images", labels=["model", "engine", "size"]
    )
    ended = CounterMetricFamily(
        "cxrserve_images", "Images by how they ended", labels=["model", "engine", "outcome"]
    )
    spent = CounterMetricFamily(
        "cxrserve_image_seconds",
        "Time of images in the queue and running",
        labels=["model", "engine", "in"],
    )
    latency = GaugeMetricFamily(
        "cxrserve_batch_latency_seconds",
        "What a batch takes, by images",
        labels=["model", "engine", "size"],
    )
    for model, queue in queues:
        seen, of = queue.statistics, [model, queue.engine.name]
        for priority, count in queue.waiting().items():
            waiting.add_metric([*of, priority.name.lower()], count)
        for size, count in sorted(seen.batches.items()):
            batches.add_metric([*of, str(size)], count)
        ended.add_metric([*of, "answered"], seen.images - seen.failed)
        ended.add_metric([*of, "failed"], seen.failed)
        ended.add_metric([*of, "late"], seen.late)
        spent.add_metric([*of, "queue"], seen.queue_s)
        spent.add_metric([*of, "engine"], seen.compute_s)
        for size in queue.table.sizes:
            latency.add_metric([*of, str(size)], queue.table.seconds(size))
    yield from (waiting, batches, ended, spent, latency)
