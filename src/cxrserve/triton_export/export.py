"""One package becomes one model of Triton's repository."""

from __future__ import annotations

import time
from pathlib import Path

from cxrserve.engines.engine import Engine
from cxrserve.engines.latency import LatencyTable
from cxrserve.engines.load import load_way
from cxrserve.engines.onnx_cpu import most_exact
from cxrserve.engines.plan import Way
from cxrserve.engines.warm_up import TableStore, table_of
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage
from cxrserve.triton_export.config import Served
from cxrserve.triton_export.contents import write_model
from cxrserve.triton_export.repository import replacing
from cxrserve.triton_export.schedule import Schedule, schedule, unmeasured
from cxrserve.triton_export.wanted import Wanted

# Enough for a batch of 16 of the largest networks, each size a few times.
_MEASURING_S = 5.0


def export(
    package: ModelPackage,
    folder: Path,
    wanted: Wanted,
    *,
    table: LatencyTable | None,
    store: TableStore,
) -> Served:
    """Write a package's model; one of its name that an earlier export wrote is replaced whole.

    Args:
        package: what is exported.
        folder: Triton's model repository.
        wanted: how it is to be served.
        table: what its batches take where Triton will run. None: the Python backend's is measured
            here, or read from `store`; a GPU's is unknown, so nothing waits for a larger batch.
        store: tables of earlier measurements.

    Raises:
        NotExportable: the backend cannot take it, or its batches are too slow for the SLO.
        BrokenPackage: the package cannot be run.
    """
    graph = package.graph(wanted.precision) if wanted.precision else most_exact(package)
    engine = _engine_of(package, graph, wanted)
    try:
        if table is None and not wanted.backend.on_gpu:
            table = _table_of(engine, package, graph, store)
        served = Served(
            package=package,
            graph=graph,
            shapes=engine.shapes,
            schedule=_schedule(table, wanted),
        )
    finally:
        engine.close()
    with replacing(folder, served.name) as new:
        write_model(new, served, wanted)
    return served


def _engine_of(package: ModelPackage, graph: Graph, wanted: Wanted) -> Engine:
    """The graph on this machine's CPU, which holds it against the contract of its task."""
    way = Way(
        engine="onnxruntime",
        graph=graph.precision,
        precision=graph.precision,
        slots=1,
        threads=wanted.threads,
    )
    return load_way(package, way)


def _table_of(
    engine: Engine, package: ModelPackage, graph: Graph, store: TableStore
) -> LatencyTable:
    return table_of(
        engine,
        digest=graph.sha256,
        side=package.manifest.input.side,
        store=store,
        clock=time.monotonic,
        budget_s=_MEASURING_S,
    )


def _schedule(table: LatencyTable | None, wanted: Wanted) -> Schedule:
    if table is None:
        return unmeasured(wanted.slo_ms, wanted.queue)
    return schedule(
        table,
        wanted.slo_ms,
        instances=wanted.instances,
        independent=not wanted.backend.on_gpu,
    )
