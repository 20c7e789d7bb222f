"""What the Open Inference Protocol tells of the server and its models, as its JSON has it.

gRPC's messages are read from the same dictionaries, so that both wires say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cxrserve import __version__
from cxrserve.batching.model_queue import ModelQueue, Statistics
from cxrserve.models.repository import LoadedModel, ModelRepository
from cxrserve.oip import interface
from cxrserve.oip.interface import MOST_IMAGES, PLATFORM, Port, wire_version

Json = dict[str, Any]

NOT_TRACED: Json = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_file": [""],
    "trace_mode": ["triton"],
}
"""Nothing is traced: requests hold patients' images."""
LOGGED: Json = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def server_metadata(*, shared_memory: bool) -> Json:
    """Name, version, and the extensions that are served: no other."""
    extensions = [
        "classification",
        "model_configuration",
        "model_repository",
        "binary_tensor_data",
        "parameters",
        "schedule_policy",
        "statistics",
        "trace",
        "logging",
    ]
    if shared_memory:
        extensions.append("system_shared_memory")
    return {"name": PLATFORM, "version": __version__, "extensions": extensions}


def model_metadata(model: LoadedModel, versions: Sequence[str]) -> Json:
    """Inputs and outputs with their shapes."""

    def tensor(port: Port) -> Json:
        return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape)}

    return {
        "name": model.manifest.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [tensor(port) for port in interface.inputs_of(model)],
        "outputs": [tensor(port) for port in interface.outputs_of(model)],
    }


def model_config(model: LoadedModel, queue: ModelQueue) -> Json:
    """As Triton's `ModelConfig`; the two inputs are optional because one of them is given."""
    engine = model.engine
    return {
        "name": model.manifest.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": MOST_IMAGES,
        "input": [{**_config(port), "optional": True} for port in interface.inputs_of(model)],
        "output": [_config(port) for port in interface.outputs_of(model)],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": 0,
            "priority_levels": 3,
            "default_priority_level": 3,
        },
        "instance_group": [
            {
                "name": engine.name,
                "kind": "KIND_CPU" if engine.independent_slots else "KIND_GPU",
                "count": engine.slots,
            }
        ],
        "parameters": {
            "version": {"string_value": model.manifest.version},
            "digest": {"string_value": model.package.digest},
            "engine": {"string_value": engine.name},
            "largest_batch": {"string_value": str(queue.table.largest)},
        },
        "model_transaction_policy": {"decoupled": False},
    }


def statistics(model: LoadedModel, seen: Statistics, *, wall: Callable[[float], float]) -> Json:
    """What a model has done since it was loaded; an image counts as a request.

    Args:
        seen: what its queues have done.
        wall: a time of the queue's clock in seconds since 1970.
    """
    good = seen.images - seen.failed

    def duration(count: int, seconds: float) -> Json:
        return {"count": count, "ns": round(seconds * 1e9)}

    return {
        "name": model.manifest.name,
        "version": wire_version(model.manifest.version),
        "last_inference": 0 if seen.ended is None else round(wall(seen.ended) * 1e3),
        "inference_count": good,
        "execution_count": seen.batches.total(),
        "inference_stats": {
            "success": duration(good, seen.prepare_s + seen.queue_s + seen.compute_s),
            "fail": duration(seen.failed + seen.late, 0.0),
            "queue": duration(seen.images, seen.queue_s),
            "compute_input": duration(seen.images, seen.prepare_s),
            "compute_infer": duration(seen.images, seen.compute_s),
            "compute_output": duration(seen.images, 0.0),
            "cache_hit": duration(0, 0.0),
            "cache_miss": duration(0, 0.0),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": duration(count, 0.0),
                "compute_infer": duration(count, seen.batch_s[size]),
                "compute_output": duration(count, 0.0),
            }
            for size, count in sorted(seen.batches.items())
        ],
        "memory_usage": [],
    }


def index(repository: ModelRepository, *, on_disk: Sequence[str], ready: bool) -> list[Json]:
    """The models of the folder: loaded, left out, or unloaded; or, if `ready`, the loaded only."""
    entries = [
        _entry(m.manifest.name, wire_version(m.manifest.version), "READY", "") for m in repository
    ]
    if ready:
        return entries
    for one in repository.left_out:
        if one.folder.partition("/")[0] not in repository.names():
            entries.append(_entry(one.folder, "", "UNAVAILABLE", one.reason))
    known = {entry["name"] for entry in entries}
    entries += [_entry(n, "", "UNAVAILABLE", "unloaded") for n in on_disk if n not in known]
    return entries


def _entry(name: str, version: str, state: str, reason: str) -> Json:
    return {"name": name, "version": version, "state": state, "reason": reason}


def _config(port: Port) -> Json:
    kind = "TYPE_STRING" if port.datatype == "BYTES" else f"TYPE_{port.datatype}"
    return {"name": port.name, "data_type": kind, "dims": list(port.dims)}
