"""What the batcher does, as Prometheus metrics: read off its queues at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cxrserve.batching.batcher import Batcher
from cxrserve.observability.model_metrics import Served


def batch_families(served: Sequence[Served], batcher: Batcher | None) -> Iterator[Metric]:
    """The metrics of all queues and devices; none until there is a batcher."""
    if batcher is None:
        return
    turned_away = CounterMetricFamily(
        "cxrserve_batcher_refused", "Requests refused because they could not be in time"
    )
    turned_away.add_metric([], batcher.refused)
    yield turned_away
    waiting = GaugeMetricFamily(
        "cxrserve_queue_requests", "Requests that wait", labels=["model", "engine", "class"]
    )
    oldest = GaugeMetricFamily(
        "cxrserve_queue_oldest_seconds",
        "For how long the one has waited that came first",
        labels=["model", "engine"],
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
    queues = [(one.model.full_name, queue) for one in served for queue in one.queues]
    for model, queue in queues:
        seen, of = queue.statistics, [model, queue.engine.name]
        oldest.add_metric(of, queue.oldest_s())
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
    yield from (waiting, oldest, batches, ended, spent, latency)
    slots = GaugeMetricFamily("cxrserve_slots", "Threads or streams", labels=["device"])
    busy = GaugeMetricFamily("cxrserve_slots_busy", "Those at work now", labels=["device"])
    names = {id(queue.device): model for model, queue in queues}
    processors, *others = batcher.devices
    for name, device in (
        ("processors", processors),
        *((names[id(device)], device) for device in others if id(device) in names),
    ):
        slots.add_metric([name], device.threads)
        busy.add_metric([name], device.busy)
    yield from (slots, busy)
