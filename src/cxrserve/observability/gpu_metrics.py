"""NVIDIA GPUs of this machine, as Prometheus metrics; nothing where there are none.

What the service's own process sees of them. A cluster's view of all GPUs is DCGM's exporter, and a
Triton tells of those it runs on.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

_log = logging.getLogger(__name__)


def nvml() -> Any | None:
    """NVIDIA's management library (`nvidia-ml-py`), begun; None without it or without a GPU."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        _log.info("no GPU is told of at /metrics: %s", error)
        return None
    return library


def gpu_families(library: Any | None) -> Iterator[Metric]:
    """Use and memory of each GPU that this process may see."""
    if library is None:
        return
    used = GaugeMetricFamily(
        "cxrserve_gpu_utilisation", "Share of the last moment a kernel ran", labels=["gpu"]
    )
    taken = GaugeMetricFamily(
        "cxrserve_gpu_memory_used_bytes", "Memory in use, by all processes", labels=["gpu"]
    )
    total = GaugeMetricFamily("cxrserve_gpu_memory_bytes", "Memory", labels=["gpu"])
    for index in range(library.nvmlDeviceGetCount()):
        name = [str(index)]
        try:
            device = library.nvmlDeviceGetHandleByIndex(index)
            memory = library.nvmlDeviceGetMemoryInfo(device)
            taken.add_metric(name, memory.used)
            total.add_metric(name, memory.total)
            # Not told of a slice of a GPU (MIG).
            used.add_metric(name, library.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        except library.NVMLError:
            continue
    yield from (used, taken, total)
